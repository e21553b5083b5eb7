package skas

import (
	"testing"

	"goskas/arch/amd64/asm"
)

func BenchmarkNewMM(b *testing.B) {
	r := newRig(b, 0)
	for b.Loop() {
		x, err := r.mon.NewMM()
		if err != nil {
			b.Fatal(err)
		}
		x.Destroy()
	}
}

// BenchmarkRoundTrip is an empty system call: trap, report, resume.
func BenchmarkRoundTrip(b *testing.B) { benchmarkRoundTrip(b) }

// BenchmarkRoundTripTraced is one in mode ptrace: by the only vCPU, and by one of
// several.
func BenchmarkRoundTripTraced(b *testing.B) {
	b.Run("kept", func(b *testing.B) { benchmarkRoundTrip(b, ptraceMode(b, 1)) })
	b.Run("taken", func(b *testing.B) { benchmarkRoundTrip(b, ptraceMode(b, 0)) })
}

func benchmarkRoundTrip(b *testing.B, set ...func(*Config)) {
	r := newRig(b, 100, set...)
	x, regs := r.program(func(a *asm.Assembler) {
		a.Label("loop")
		a.Syscall()
		a.Jmp("loop")
	})
	for b.Loop() {
		if _, err := r.vcpu.Run(x, regs); err != nil {
			b.Fatal(err)
		}
	}
}
