package arch

// VDSOPages is the size of a VDSO in pages; the TimePage lies right below it.
const VDSOPages = 1

// Fields of the page from which the VDSO tells the time, by offset. The monitor
// writes it; guests can only read it. The time in nanoseconds is
//
//	TimeMono + (counter - TimeBase) * TimeMult / 2^32
//
// and TimeReal more for the time of day. All are 64-bit words but for the first.
const (
	// TimeSeq is odd while the rest must not be used: there the VDSO makes a
	// system call. It changes with the rest.
	TimeSeq  = 0 // 32 bits
	TimeCPUs = 4 // 32 bits: how many vCPUs there are
	TimeBase = 8
	TimeMult = 16
	TimeMono = 24
	TimeReal = 32
)

// Counter is the part of a CPU that counts steadily.
type Counter interface {
	// CounterSteady says that the counter goes at one rate, on all CPUs alike.
	CounterSteady() bool
	// CounterNow reads it.
	CounterNow() uint64
	// VDSO assembles the shared object that guests find the time with: an ELF
	// image of VDSOPages that may be mapped anywhere, behind its TimePage.
	VDSO() ([]byte, error)
}
