package skas

import (
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
)

// A garbage collection that starts between wake and dispatch would wait for the
// thread that waits for the stub: a round trip allocates nothing, with or
// without a batch, under any guard.
func TestKernelRoundTripAllocatesNothing(t *testing.T) {
	for _, g := range guard.All() {
		t.Run(g.String(), func(t *testing.T) {
			r := newRig(t, 100, under(t, g))
			x, regs := r.program(func(a *asm.Assembler) {
				a.Label("loop")
				a.Mov(8, asm.RBX, asm.Imm(dataAt))
				a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
				a.Mov(1, asm.Ptr(asm.RBX, 0), asm.Imm(1))
				a.Syscall()
				a.Jmp("loop")
			})
			r.page(x, dataAt, arch.Read|arch.Write)
			other, otherRegs := r.program(spin)
			table := x.Table()
			for _, c := range []struct {
				name string
				trip func()
			}{
				{"a system call", func() { r.run(x, regs) }},
				{"a batch of one mapping", func() {
					table.Protect(dataAt, dataAt+arch.PageSize, arch.Read)
					r.run(x, regs) // a page fault
					table.Protect(dataAt, dataAt+arch.PageSize, arch.Read|arch.Write)
					r.run(x, regs)
				}},
				{"a batch of its own", func() {
					table.Protect(dataAt, dataAt+arch.PageSize, 0)
					if err := x.Flush(); err != nil {
						t.Fatal(err)
					}
					table.Protect(dataAt, dataAt+arch.PageSize, arch.Read|arch.Write)
					r.run(x, regs)
				}},
				{"a tick", func() {
					for r.run(other, otherRegs).Kind != Tick {
					}
				}},
			} {
				c.trip() // whatever the first one makes for good
				if n := testing.AllocsPerRun(30, c.trip); n != 0 {
					t.Errorf("%s: %v allocations", c.name, n)
				}
			}
		})
	}
}

// The auditor looks while a round trip is under way, and what it allocated, more the
// longer the trip took, was counted for that.
func TestKernelAuditAllocatesNothing(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	for range 3 {
		r.newMM()
	}
	a := new(auditor)
	a.look(r.mon) // whatever the first one makes for good
	if n := testing.AllocsPerRun(30, func() { a.look(r.mon) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
