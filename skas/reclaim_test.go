package skas

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// When memory is out, Reclaim gets back what stopped stubs have lost without a
// proof, and passes by one that somebody holds.
func TestKernelReclaimWhenMemoryIsOut(t *testing.T) {
	const owners, pages = 6, 8
	r := newRig(t, 0, under(t, guard.Sealed))
	var mms []*MM
	for range owners {
		x, regs := r.program(func(a *asm.Assembler) {
			a.Mov(8, asm.RBX, asm.Imm(dataAt))
			a.Label("touch")
			a.Inc(8, asm.Ptr(asm.RBX, 0))
			a.Alu(asm.Add, 8, asm.RBX, asm.Imm(arch.PageSize))
			a.Alu(asm.Cmp, 8, asm.RBX, asm.Imm(dataAt+pages*arch.PageSize))
			a.Jcc(asm.NE, "touch")
			a.Syscall()
		})
		for i := range arch.Addr(pages) {
			r.page(x, dataAt+i*arch.PageSize, arch.Read|arch.Write)
		}
		if ev := r.run(x, regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
		mms = append(mms, x)
	}
	var got []physmem.PFN
	alloc := func() (n int) {
		t.Helper()
		for {
			pfn, err := r.mem.Alloc()
			if errors.Is(err, physmem.ErrNoMemory) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, pfn)
			n++
		}
	}
	defer func() {
		for _, pfn := range got {
			r.mem.Unref(pfn)
		}
	}()
	alloc()
	if err := unix.Kill(mms[0].PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !mms[0].suspended(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("not stopped")
		}
	}
	for _, x := range mms {
		x.Table().Unmap(dataAt, dataAt+pages*arch.PageSize)
	}
	if n := alloc(); n != 0 {
		t.Errorf("%d frames are free without a proof", n)
	}
	r.mon.Reclaim()
	if n := alloc(); n != (owners-1)*pages {
		t.Errorf("%d frames are free behind Reclaim, not %d", n, (owners-1)*pages)
	}
	if err := unix.Kill(mms[0].PID(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.mon.Reclaim()
	if n := alloc(); n != pages {
		t.Errorf("%d frames are free behind the last one's proof, not %d", n, pages)
	}
	if s := r.mon.Stats(); s.Proofs < owners || s.Refused != 0 {
		t.Errorf("%d proofs, %d refused", s.Proofs, s.Refused)
	}
}

// The auditor holds each stub for a moment. Reclaim once took it for one that runs
// then, and left its frames where they were.
func TestKernelReclaimWhileStubsAreAudited(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Label("loop")
		a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		a.Syscall()
		a.Jmp("loop")
	})
	var stop atomic.Bool
	var audits sync.WaitGroup
	audits.Go(func() {
		for a := new(auditor); !stop.Load(); {
			a.look(r.mon)
		}
	})
	defer audits.Wait()
	defer stop.Store(true)
	for i := range 200 {
		r.page(x, dataAt, arch.Read)
		if ev := r.run(x, regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
		x.Table().Unmap(dataAt, dataAt+arch.PageSize)
		r.mon.Reclaim()
		if held := x.Table().Held(); held != 0 {
			t.Fatalf("round %d: %d frames held behind Reclaim", i, held)
		}
	}
}
