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

// A stub that only claims to stop goes on with what it had. A page that is made
// inaccessible and then unmapped stays held, whatever is reclaimed, until the
// stub is dead.
func TestKernelForgedStopsKeepFramesHeld(t *testing.T) {
	for try := 0; ; try++ {
		err := forgedStops(t)
		if err == nil {
			return
		}
		// A busy host may have let the stub run long enough to be caught.
		if !errors.Is(err, ErrStubDead) || try == 10 {
			t.Fatal(err)
		}
	}
}

func forgedStops(t *testing.T) error {
	r := newRig(t, 0, under(t, guard.Sealed))
	l := r.mon.Layout()
	stub := r.mon.protocol.(*sealed).stub
	x, regs := r.program(func(a *asm.Assembler) {
		a.Label("loop")
		a.Mov(8, asm.RBX, asm.Imm(int64(stub.Sealed.MContext)))
		a.Mov(8, asm.Ptr(asm.RBX, 8*16), asm.Imm(textAt)) // rip
		a.Mov(8, asm.RBX, asm.Imm(int64(l.Data)))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedSignal), asm.Imm(int64(unix.SIGTRAP)))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(stubabi.ReportFresh))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(int64(stubabi.InKern)))
		a.Jmp("loop")
	})
	r.page(x, dataAt, arch.Read|arch.Write)
	pfn := x.Table().Lookup(dataAt).PFN()
	run := func() error {
		_, err := r.vcpu.Run(x, regs)
		return err
	}
	if err := run(); err != nil {
		return err
	}
	x.Table().Protect(dataAt, dataAt+arch.PageSize, 0)
	if err := run(); err != nil {
		return err
	}
	x.Table().Unmap(dataAt, dataAt+arch.PageSize)
	for range 20 {
		if r.mem.Refs(pfn) == 0 {
			t.Fatal("the frame is free, and the stub may still have it")
		}
		if err := run(); err != nil {
			return err
		}
	}
	r.mon.Reclaim() // which gets no proof: the stub dies for what it reports, or stays as it is
	if !x.dead.Load() && r.mem.Refs(pfn) == 0 {
		t.Fatal("the frame is free without a proof")
	}
	x.Destroy()
	r.mon.Quiesce()
	if used := r.mem.Stats().InUse; used != 0 {
		t.Errorf("%d frames are in use behind the stub's death", used)
	}
	return nil
}
