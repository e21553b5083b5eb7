// Package bpf builds, checks, prints and interprets classic BPF programs of the
// kind that seccomp runs: they look at one system call and return an Action.
//
// One turn: New, emit instructions with symbolic labels, then Program, which
// lays the jumps out and reports every mistake at once. The result is data:
// Insns goes to the kernel, Text is for people, Run says what the kernel would
// answer for a given system call.
//
//	b := bpf.New()
//	b.Load(bpf.NR)
//	b.JumpIn([]uint32{unix.SYS_FUTEX, unix.SYS_CLOSE}, "allow")
//	b.Ret(bpf.KillProcess)
//	b.Label("allow")
//	b.Ret(bpf.Allow)
//	p, err := b.Program()
//
// Classic BPF has an accumulator A, a register X, sixteen scratch words, and
// jumps that only go forward: at most 255 instructions if conditional, which
// the builder works around. seccomp lets a program load aligned 32-bit words of
// struct seccomp_data (linux/seccomp.h), so 64-bit fields are compared by
// halves: see Wide. Words are in the host's byte order; this package takes it
// to be little endian, as on all our CPUs.
package bpf
