package skas

import (
	"errors"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/stubexe/stubabi"

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

// A batch is a final state, also behind a proof that could not be had: an entry
// that a later one undoes would be a capability for a frame that is another's by
// then.
func TestKernelBatchBehindAFailedRevokeIsFinal(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Label("loop")
		a.Syscall()
		a.Jmp("loop")
	})
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Fatalf("%+v", ev)
	}
	if err := unix.Kill(x.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !x.suspended(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("not stopped")
		}
	}
	r.page(x, dataAt, arch.Read)
	r.page(x, dataAt+2*arch.PageSize, arch.Read)
	if err := x.Revoke(); !errors.Is(err, ErrNotRevoked) {
		t.Fatalf("revoke of a stopped stub: %v", err)
	}
	x.Table().Unmap(dataAt, dataAt+arch.PageSize)
	if err := x.Table().Sync(x.queue); err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]stubabi.Kind)
	for _, e := range x.queue.Entries() {
		for a := e.Addr; a < e.Addr+e.Length; a += arch.PageSize {
			if _, ok := seen[a]; ok {
				t.Errorf("page %#x is in the batch twice", a)
			}
			seen[a] = e.Kind
		}
	}
	if seen[dataAt] != stubabi.Munmap || seen[dataAt+2*arch.PageSize] != stubabi.Mmap {
		t.Errorf("the batch is %v", x.queue.Entries())
	}
	if err := unix.Kill(x.PID(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := x.Revoke(); err != nil {
		t.Error(err)
	}
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Errorf("afterwards: %+v", ev)
	}
}

// A stub whose guest forges one report after the other while a proof is wanted
// does not keep the monitor busy to the last try, again and again: it dies.
func TestKernelRevokeOfAForger(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	data := int64(r.mon.Layout().Data)
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		a.Mov(8, asm.RBX, asm.Imm(data))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(stubabi.ReportSame))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
		a.Label("spin")
		a.Pause()
		a.Alu(asm.Cmp, 4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InChild))
		a.Jcc(asm.NE, "spin")
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(stubabi.ReportRan))
		a.Label("forge")
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
		a.Jmp("forge")
	})
	r.page(x, dataAt, arch.Read)
	if _, err := r.vcpu.Run(x, regs); err != nil {
		t.Fatal(err)
	}
	x.Table().Protect(dataAt, dataAt+arch.PageSize, 0)
	if err := x.Revoke(); !errors.Is(err, ErrStubDead) {
		t.Errorf("revoke of a stub that forges reports: %v", err)
	}
	if s := r.mon.Stats(); s.Refused != 1 {
		t.Errorf("refused %d times", s.Refused)
	}
}
