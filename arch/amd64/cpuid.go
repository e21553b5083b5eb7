package amd64

// cpuid and xgetbv0 run the instructions of those names. xgetbv0 faults on a
// CPU without OSXSAVE. The assembly file carries the one GOARCH suffix of this
// package: asking a CPU can only be done on that CPU.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

func xgetbv0() (lo, hi uint32)

// rdtsc reads the time stamp counter, behind everything that was loaded before.
func rdtsc() uint64
