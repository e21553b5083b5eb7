package abi

// Flags of struct sigaction (asm/signal.h, asm-generic/signal-defs.h).
const (
	SA_NOCLDSTOP = 0x1
	SA_NOCLDWAIT = 0x2
	SA_SIGINFO   = 0x4

	SA_UNSUPPORTED    = 0x400 // never supported: for asking which flags are
	SA_EXPOSE_TAGBITS = 0x800
	SA_RESTORER       = 0x04000000
	SA_ONSTACK        = 0x08000000
	SA_RESTART        = 0x10000000
	SA_NODEFER        = 0x40000000
	SA_RESETHAND      = 0x80000000
)

// Dispositions (asm-generic/signal-defs.h).
const (
	SIG_DFL = 0
	SIG_IGN = 1
)

// Flags of stack_t, and its smallest size (linux/signal.h, asm/signal.h).
const (
	SS_ONSTACK    = 1
	SS_DISABLE    = 2
	SS_AUTODISARM = 1 << 31
	MINSIGSTKSZ   = 2048
)

// How a POSIX timer tells of its expiry, and where struct sigevent says so
// (asm-generic/siginfo.h).
const (
	SIGEV_SIGNAL    = 0
	SIGEV_NONE      = 1
	SIGEV_THREAD    = 2
	SIGEV_THREAD_ID = 4

	SIGEV_SIZE       = 64
	SIGEV_OFF_VALUE  = 0
	SIGEV_OFF_SIGNO  = 8
	SIGEV_OFF_NOTIFY = 12
	SIGEV_OFF_TID    = 16
)

// Codes of siginfo_t (asm-generic/siginfo.h).
const (
	SI_USER   = 0
	SI_KERNEL = 0x80
	SI_QUEUE  = -1
	SI_TIMER  = -2
	SI_TKILL  = -6

	SEGV_MAPERR = 1
	SEGV_ACCERR = 2
	BUS_ADRERR  = 2

	SYS_SECCOMP = 1

	CLD_EXITED    = 1
	CLD_KILLED    = 2
	CLD_DUMPED    = 3
	CLD_STOPPED   = 5
	CLD_CONTINUED = 6
)

// Size of siginfo_t and the offsets of its fields on 64-bit CPUs
// (asm-generic/siginfo.h). The header has macros, not numbers, for these; the
// names are ours.
const (
	SI_SIZE       = 128
	SI_OFF_SIGNO  = 0
	SI_OFF_CODE   = 8
	SI_OFF_PID    = 16
	SI_OFF_UID    = 20
	SI_OFF_ADDR   = 16
	SI_OFF_STATUS = 24
	SI_OFF_UTIME  = 32
	SI_OFF_STIME  = 40
	SI_OFF_VALUE  = 24
	// Of a timer's signal.
	SI_OFF_TIMERID = 16
	SI_OFF_OVERRUN = 20
	// Of a SIGSYS: the address behind the instruction, number, AUDIT_ARCH_*.
	SI_OFF_CALL_ADDR = 16
	SI_OFF_SYSCALL   = 24
	SI_OFF_ARCH      = 28
)
