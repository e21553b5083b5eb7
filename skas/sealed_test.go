package skas

import (
	"errors"
	"testing"

	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// A sealed stub's guest can write any report, too.
func TestKernelSealedForgedReportIsRefused(t *testing.T) {
	r := newRig(t, 100, under(t, guard.Sealed))
	l := r.mon.Layout()
	stub := r.mon.protocol.(*sealed).stub
	for _, c := range []struct {
		name         string
		signal, kind int64
		pc           int64
	}{
		{"unknown kind", int64(unix.SIGSYS), 77, textAt},
		{"no kind", int64(unix.SIGSYS), 0, textAt},
		{"end of a batch that was not run alone", int64(unix.SIGSYS), stubabi.ReportRan, textAt},
		{"unknown signal", 77, stubabi.ReportFresh, textAt},
		{"inside the stub's code", int64(unix.SIGALRM), stubabi.ReportFresh, int64(l.Code)},
		{"behind guest space", int64(unix.SIGALRM), stubabi.ReportFresh, int64(r.mon.End())},
		{"negative", int64(unix.SIGALRM), stubabi.ReportFresh, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, regs := r.program(func(a *asm.Assembler) {
				a.Label("loop")
				a.Mov(8, asm.RCX, asm.Imm(c.pc))
				a.Mov(8, asm.RBX, asm.Imm(int64(stub.Sealed.MContext)))
				a.Mov(8, asm.Ptr(asm.RBX, 8*16), asm.RCX) // rip
				a.Mov(8, asm.RBX, asm.Imm(int64(l.Data)))
				a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedSignal), asm.Imm(c.signal))
				a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(c.kind))
				a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
				a.Jmp("loop")
			})
			ev, err := r.vcpu.Run(x, regs)
			for err == nil && ev.Kind == Tick {
				ev, err = r.vcpu.Run(x, regs)
			}
			if !errors.Is(err, ErrStubDead) {
				t.Errorf("event %+v, error %v", ev, err)
			}
			x.Destroy()
		})
	}
}
