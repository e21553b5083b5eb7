package skas

import (
	"fmt"

	"goskas/arch"
)

// Kind says why a guest task stopped.
type Kind uint8

// The kinds of event.
const (
	Syscall   Kind = iota + 1 // a system call instruction: NR, Args, AuditArch
	PageFault                 // SIGSEGV: Fault
	Tick                      // the vCPU's timer expired
	Trap                      // SIGTRAP, SIGILL or SIGFPE: Signo and Code
)

func (k Kind) String() string {
	switch k {
	case Syscall:
		return "syscall"
	case PageFault:
		return "fault"
	case Tick:
		return "tick"
	case Trap:
		return "trap"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is what a run of guest code ended with. It is a checked copy of what
// the stub reported; the registers are in the Regs that were run.
type Event struct {
	Kind Kind
	// Late is set if the vCPU's tick was due as well: no tick is sent to a
	// stub that has stopped by itself. Without it a stub that reports all the
	// time would keep its vCPU for itself.
	Late  bool
	Signo int   // host signal that carried it
	Code  int32 // si_code
	// Fault is set for PageFault and Trap, unless a signal from the host
	// carries it.
	Fault arch.Fault
	// Addr is si_addr for Trap: where it happened.
	Addr arch.Addr
	// NR, Args and AuditArch are set for Syscall. AuditArch differs from
	// the guest's own for calls by another convention (int 0x80).
	NR        uint64
	Args      [6]uint64
	AuditArch uint32
}
