package stubabi

import "fmt"

// Exit is the status with which a stub's start-up program gives up. The
// numbers are UML's (arch/um/kernel/skas/stub_exe.c); the names are ours.
type Exit int

// Why a stub did not start.
const (
	ExitInitData    Exit = 10
	ExitMapCode     Exit = 11
	ExitMapData     Exit = 12
	ExitCloseRange  Exit = 13
	ExitSigTraced   Exit = 14 // in ptrace mode
	ExitSigSegv     Exit = 15
	ExitSigSys      Exit = 16
	ExitSigAlrm     Exit = 17
	ExitSigTrap     Exit = 18
	ExitSigIll      Exit = 19
	ExitSigFpe      Exit = 20
	ExitSeccomp     Exit = 21
	ExitNotFiltered Exit = 30
	ExitAltStack    Exit = 31
	ExitSigBus      Exit = 32
	ExitMapControl  Exit = 33
	ExitMemory      Exit = 34
	ExitUnmap       Exit = 35
	ExitAdvise      Exit = 36
	ExitParent      Exit = 37
)

var exitText = map[Exit]string{
	ExitInitData:    "could not read its init data from the socket",
	ExitMapCode:     "could not map the stub code page",
	ExitMapData:     "could not map the stub data pages",
	ExitCloseRange:  "close_range failed (needs Linux 5.9)",
	ExitSigTraced:   "could not install the SIGSEGV handler",
	ExitSigSegv:     "could not install the SIGSEGV handler",
	ExitSigSys:      "could not install the SIGSYS handler",
	ExitSigAlrm:     "could not install the SIGALRM handler",
	ExitSigTrap:     "could not install the SIGTRAP handler",
	ExitSigIll:      "could not install the SIGILL handler",
	ExitSigFpe:      "could not install the SIGFPE handler",
	ExitSeccomp:     "could not install the seccomp filter (needs CONFIG_SECCOMP_FILTER and Linux 4.14; with a listener Linux 5.7)",
	ExitNotFiltered: "the seccomp filter let a system call through, or nobody traced it",
	ExitSigBus:      "could not install the SIGBUS handler",
	ExitMapControl:  "could not map the stub control page",
	ExitMemory:      "could not keep guest memory's descriptor",
	ExitUnmap:       "could not clear its address space",
	ExitAdvise:      "could not keep its pages to itself",
	ExitParent:      "has lost its monitor",
	ExitAltStack:    "could not install the signal stack (its state may need more room)",
}

func (e Exit) String() string {
	if s, ok := exitText[e]; ok {
		return fmt.Sprintf("%s (exit %d)", s, int(e))
	}
	return fmt.Sprintf("unexpected exit %d", int(e))
}
