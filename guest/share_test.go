package guest_test

import (
	"fmt"
	"testing"

	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/internal/testguest"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// sharing lets two processes count for some seconds, without system calls, and
// prints how far each came.
func sharing(seconds byte) []byte {
	const apart = 64 // bytes between the counters: a cache line
	p := program.New()
	p.Data("time", []byte{0: seconds, 15: 0}) // struct timespec
	p.Sys(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, -1, 0)
	p.Check("mmap")
	p.Mov(8, asm.RBX, asm.RAX)
	children := []asm.Reg{asm.R13, asm.R14}
	for i, child := range children {
		p.Fork(func() {
			p.While(func(string) { p.Inc(8, asm.Ptr(asm.RBX, int32(i)*apart)) })
		})
		p.Mov(8, child, asm.RAX)
	}
	p.Sys(unix.SYS_NANOSLEEP, program.Label("time"), 0)
	p.Print(asm.Ptr(asm.RBX, 0), " ", asm.Ptr(asm.RBX, apart), "\n")
	for _, child := range children {
		p.Sys(unix.SYS_KILL, child, unix.SIGKILL)
		p.Wait(child)
	}
	p.Exit(0)
	return p.MustBuild()
}

// TestGuestSharesCPU runs two processes that only compute on one vCPU. Each gets
// half of it, within 10 %. What other programs of the host take from the vCPU
// hits one or the other by chance and averages out, so a measurement that is
// off goes on; what the scheduler did wrong would stay.
func TestGuestSharesCPU(t *testing.T) {
	const (
		seconds, rounds = 2, 6
		tolerance       = 0.10
	)
	files := map[string][]byte{"share": sharing(seconds)}
	var a, b float64
	for round := range rounds {
		got, _ := testguest.InGuest(t, guest.Config{CPUs: 1, Files: files}, []string{"share"}, nil)
		var x, y float64
		if n, err := fmt.Sscan(got.Out, &x, &y); n != 2 || got.Status != 0 {
			t.Fatalf("%v: %+v", err, got)
		}
		a, b = a+x, b+y
		t.Logf("%d s: %.1f %% to the first process", (round+1)*seconds, 100*a/(a+b))
		if max(a, b) <= min(a, b)*(1+tolerance) {
			return
		}
	}
	t.Errorf("%.0f and %.0f: the processes did not get the same", a, b)
}
