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
// prints, for each, how far it came and its CPU time in microseconds.
func sharing(seconds byte) []byte {
	const apart = 64 // bytes between the counters: a cache line
	p := program.New()
	p.Data("time", []byte{0: seconds, 15: 0}) // struct timespec
	usage := p.Reserve("usage", 144, 8)       // struct rusage
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
	for _, child := range children {
		p.Sys(unix.SYS_KILL, child, unix.SIGKILL)
	}
	for i, child := range children {
		p.Sys(unix.SYS_WAIT4, child, 0, 0, usage)
		p.Check("wait4")
		p.Load(asm.RAX, usage) // ru_utime comes first
		p.Mov(8, asm.RCX, asm.Imm(1e6))
		p.Imul(8, asm.RCX, asm.Ptr(asm.RAX, 0))
		p.Alu(asm.Add, 8, asm.RCX, asm.Ptr(asm.RAX, 8))
		p.Print(asm.Ptr(asm.RBX, int32(i)*apart), " ", asm.RCX, "\n")
	}
	p.Exit(0)
	return p.MustBuild()
}

// TestGuestSharesCPU runs two processes that only compute on one vCPU. Each gets
// half of it, within 10 %.
//
// What else runs on the host takes work from one or the other, or makes a tick
// late: by chance, which averages out when the measurement goes on, or in step
// with our ticks, which another frequency ends. A scheduler that favours one
// process gives it more of the work and of the time, whatever the frequency.
func TestGuestSharesCPU(t *testing.T) {
	const seconds, tolerance = 2, 0.10
	files := map[string][]byte{"share": sharing(seconds)}
	var work, micros [2]float64
	even := func(x [2]float64) bool {
		return max(x[0], x[1]) <= (1+tolerance)*min(x[0], x[1])
	}
	for _, hz := range []int{100, 100, 83, 131, 97, 61} {
		cfg := guest.Config{CPUs: 1, HZ: hz, Files: files}
		got, _ := testguest.InGuest(t, cfg, []string{"share"}, nil)
		var w, m [2]float64
		if n, err := fmt.Sscan(got.Out, &w[0], &m[0], &w[1], &m[1]); n != 4 || got.Status != 0 {
			t.Fatalf("%v: %+v", err, got)
		}
		for i := range 2 {
			work[i] += w[i]
			micros[i] += m[i]
		}
		t.Logf("HZ %d: the first process has %.1f %% of the work, %.1f %% of the time so far",
			hz, 100*work[0]/(work[0]+work[1]), 100*micros[0]/(micros[0]+micros[1]))
		if even(work) || even(micros) {
			return
		}
	}
	t.Error("the processes did not get the same")
}
