package skas

import (
	"errors"
	"testing"

	"goskas/arch"
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
		{"at the end of the stub's code", int64(unix.SIGALRM), stubabi.ReportFresh, int64(l.Code) + arch.PageSize - 1},
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

// A jump to an address that no guest can have is the guest's fault, not the
// stub's: the task can be told.
func TestKernelSealedWildJump(t *testing.T) {
	r := newRig(t, 100, under(t, guard.Sealed))
	for _, to := range []int64{-0x1000, int64(r.mon.End()), int64(r.mon.Layout().Data)} {
		x, regs := r.program(func(a *asm.Assembler) {
			a.Mov(8, asm.RAX, asm.Imm(to))
			a.JmpTo(asm.RAX)
		})
		ev, err := r.vcpu.Run(x, regs)
		for err == nil && ev.Kind == Tick {
			ev, err = r.vcpu.Run(x, regs)
		}
		if err != nil || ev.Kind != PageFault {
			t.Errorf("jump to %#x: %+v, %v", uint64(to), ev, err)
		}
		x.Destroy()
	}
}
