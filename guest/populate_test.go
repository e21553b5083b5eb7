package guest_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/program"
)

// MAP_POPULATE brings all pages with the call: touching them faults no more,
// and one call of the stub maps them all.
func TestGuestPopulate(t *testing.T) {
	const pages = 64
	mapping := func(flags int, touch bool) []byte {
		p := program.New()
		p.Sys(unix.SYS_MMAP, 0, pages*4096, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|flags, -1, 0)
		p.Check("mmap")
		if touch {
			p.Loop(asm.RCX, pages, func() {
				p.Mov(1, asm.Ptr(asm.RAX, 0), asm.Imm(1))
				p.Alu(asm.Add, 8, asm.RAX, asm.Imm(4096))
			})
		}
		p.Exit(0)
		return p.MustBuild()
	}
	m := boot(t, guest.Config{Files: map[string][]byte{
		"idle":     mapping(0, false),
		"lazy":     mapping(0, true),
		"populate": mapping(unix.MAP_POPULATE, true),
	}})
	type cost struct{ Faults, Entries uint64 }
	run := func(name string) cost {
		before := m.Stats()
		status, err := m.Run(t.Context(), "/toy/"+name, []string{name}, nil)
		if err != nil || status != 0 {
			t.Fatalf("%s: status %d, %v", name, status, err)
		}
		after := m.Stats()
		return cost{after.PageFaults - before.PageFaults, after.Skas.Entries - before.Skas.Entries}
	}
	run("idle") // once, for what only the first process of a machine does
	idle, lazy, populate := run("idle"), run("lazy"), run("populate")
	if extra := lazy.Faults - idle.Faults; extra != pages {
		t.Errorf("%d pages touched one by one: %d faults", pages, extra)
	}
	if extra := populate.Faults - idle.Faults; extra != 0 {
		t.Errorf("populated pages: %d faults", extra)
	}
	if extra := populate.Entries - idle.Entries; extra != 1 {
		t.Errorf("populated pages: %d mapping calls", extra)
	}
	if out := m.out(); out != "" {
		t.Errorf("output %q", out)
	}
}
