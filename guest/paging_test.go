package guest_test

import (
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// pagingPages is how many pages the paging program handles at a time.
const pagingPages = 256

// paging maps memory, writes to every page, has a child write to all of it too
// (a copy for each), takes the right to write away and gives it back, frees every
// other page, and looks at what is left; again and again, two processes at once.
func paging(rounds int) []byte {
	const size = pagingPages * arch.PageSize
	p := program.New()
	each := func(pages, step int, body func()) { // rbx is the page
		p.Mov(8, asm.RBX, asm.R13)
		p.Loop(asm.R14, pages, func() {
			body()
			p.Alu(asm.Add, 8, asm.RBX, asm.Imm(step*arch.PageSize))
		})
	}
	p.Func("work", func() {
		p.Loop(asm.R12, rounds, func() {
			p.Sys(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
			p.Check("mmap")
			p.Mov(8, asm.R13, asm.RAX)
			each(pagingPages, 1, func() { p.Mov(8, asm.Ptr(asm.RBX, 0), asm.R14) })
			p.Fork(func() {
				each(pagingPages, 1, func() { p.Inc(8, asm.Ptr(asm.RBX, 0)) })
			})
			p.Wait(asm.RAX)
			p.If(asm.RAX, asm.NE, asm.Imm(0), func() { p.Exit(1) })
			p.Sys(unix.SYS_MPROTECT, asm.R13, size, unix.PROT_READ)
			p.Check("mprotect")
			each(pagingPages, 1, func() {
				p.If(asm.Ptr(asm.RBX, 0), asm.NE, asm.R14, func() { p.Exit(2) })
			})
			p.Sys(unix.SYS_MPROTECT, asm.R13, size, unix.PROT_READ|unix.PROT_WRITE)
			p.Check("mprotect")
			each(pagingPages/2, 2, func() {
				p.Sys(unix.SYS_MUNMAP, asm.RBX, arch.PageSize)
				p.Check("munmap")
			})
			p.Alu(asm.Add, 8, asm.R13, asm.Imm(arch.PageSize))
			each(pagingPages/2, 2, func() { p.Inc(8, asm.Ptr(asm.RBX, 0)) })
			p.Sys(unix.SYS_MUNMAP, asm.R13, size-arch.PageSize)
			p.Check("munmap")
		})
	})
	p.Fork(func() { p.Call("work") })
	p.Mov(8, asm.RBP, asm.RAX)
	p.Call("work")
	p.Wait(asm.RBP)
	p.Exit(asm.RAX)
	return p.MustBuild()
}

// Heavy paging with a tick every millisecond: no guard denies or kills anything
// (which every machine here checks), every fault is answered, every page comes back.
func TestGuestPagingStorm(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	m := boot(t, guest.Config{CPUs: 2, HZ: 1000, Files: map[string][]byte{"paging": paging(rounds)}})
	m.calm(t, func() {
		before := m.Stats()
		status, err := m.Run(t.Context(), "/toy/paging", []string{"paging"}, nil)
		if status != 0 || err != nil {
			t.Errorf("status %d, %v", status, err)
		}
		after := m.Stats()
		pages := uint64(2 * rounds * pagingPages)
		if fresh := after.MinorFaults - before.MinorFaults; fresh < pages {
			t.Errorf("%d fresh pages for %d touched", fresh, pages)
		}
		if copies := after.CowFaults - before.CowFaults; copies < pages {
			t.Errorf("%d copies for %d pages written by both", copies, pages)
		}
		t.Logf("%d entries in %d batches, %d notified", after.Skas.Entries-before.Skas.Entries,
			after.Skas.Batches-before.Skas.Batches, after.Skas.Notified-before.Skas.Notified)
	})
	if out := m.out(); out != "" {
		t.Errorf("output %q", out)
	}
}
