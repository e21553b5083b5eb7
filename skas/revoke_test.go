package skas

import (
	"errors"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"

	"golang.org/x/sys/unix"
)

// A stub that was stopped from outside keeps nobody waiting for ever; what it
// may still map stays held, and comes back with the proof.
func TestKernelRevokeOfAStoppedStub(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		a.Label("loop")
		a.Syscall()
		a.Jmp("loop")
	})
	r.page(x, dataAt, arch.Read)
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Fatalf("%+v", ev)
	}
	before := r.mem.Stats().InUse
	if err := unix.Kill(x.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !x.suspended(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("not stopped")
		}
	}
	x.Table().Unmap(dataAt, dataAt+arch.PageSize)
	if err := x.Revoke(); !errors.Is(err, ErrNotRevoked) {
		t.Errorf("revoke of a stopped stub: %v", err)
	}
	if now := r.mem.Stats().InUse; now != before || x.Table().Held() != 1 {
		t.Errorf("%d frames in use, %d before; %d held", now, before, x.Table().Held())
	}
	if err := unix.Kill(x.PID(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := x.Revoke(); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if now := r.mem.Stats().InUse; now != before-1 || x.Table().Held() != 0 {
		t.Errorf("%d frames in use, %d before; %d held", now, before, x.Table().Held())
	}
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Errorf("afterwards: %+v", ev)
	}
}
