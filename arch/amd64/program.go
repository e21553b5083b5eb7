package amd64

import (
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// programBase is where the stub's start-up program is linked. The monitor's
// first batch unmaps it.
const programBase = 0x400000

// StubName is the stub's name in ps and in traces; it is UML's.
const StubName = "uml-userspace"

// Locals of the start-up program, below its stack pointer after the prologue.
const (
	locInit   = 0              // stubabi.InitData
	locStack  = locInit + 64   // stack_t: sp, flags, size
	locAction = locStack + 24  // struct sigaction as the kernel takes it
	locFprog  = locAction + 32 // struct sock_fprog
	locals    = (locFprog + 16 + 15) &^ 15
)

// sigIgn is SIG_IGN, and the flags those of sa_flags (asm/signal.h).
const (
	sigIgn     = 1
	saSiginfo  = 0x4
	saRestorer = 0x04000000
	saOnstack  = 0x08000000
	saNodefer  = 0x40000000
)

// variant is which of UML's stubs a start-up program makes.
type variant uint8

const (
	filtered  variant = iota // of the seccomp mode
	listening                // the same, with a listener to the filter
	traced                   // of the ptrace mode
)

// program is the stub's start-up code. It reads its orders from descriptor 0,
// maps the stub's pages over the top of the address space, where its own stack
// may lie (so it first moves the stack below them), installs the handlers and
// the filter, and makes one system call, which the filter turns into the first
// report. With a listener, the filter's descriptor takes the lowest free number.
//
// A traced stub keeps its descriptors (guest memory, that is), handles only what
// the CPU raises, has no filter, and stops itself at the end.
//
// The filter's instructions lie behind the code under the label "filter": they
// are data of stubexe, patched in by Build.
func program(l arch.StubLayout, f variant) ([]byte, error) {
	a := asm.New(programBase)
	at := func(off int32) asm.Mem { return asm.Ptr(asm.RSP, off) }
	pages := int64(1 + l.DataPages)

	a.Alu(asm.Sub, 8, asm.RSP, asm.Imm(pages*arch.PageSize+locals))
	a.Alu(asm.And, 8, asm.RSP, asm.Imm(-16))

	prctl := func(code int64, arg asm.Operand) {
		a.Mov(8, asm.RDI, asm.Imm(code))
		a.Mov(8, asm.RSI, arg)
		for _, r := range []asm.Reg{asm.RDX, asm.R10, asm.R8} {
			a.Mov(8, r, asm.Imm(0))
		}
		call(a, unix.SYS_PRCTL)
	}
	a.Lea(asm.RBX, asm.At("name"))
	prctl(unix.PR_SET_NAME, asm.RBX)
	prctl(unix.PR_SET_PDEATHSIG, asm.Imm(int64(unix.SIGKILL)))
	prctl(unix.PR_SET_NO_NEW_PRIVS, asm.Imm(1))

	a.Mov(8, asm.RDI, asm.Imm(0))
	a.Lea(asm.RSI, at(locInit))
	a.Mov(8, asm.RDX, asm.Imm(stubabi.InitSize))
	call(a, unix.SYS_READ)
	exitUnless(a, asm.Imm(stubabi.InitSize), stubabi.ExitInitData)

	a.Mov(8, asm.RDI, asm.Imm(0))
	if f == traced {
		call(a, unix.SYS_CLOSE) // nothing will be passed
	} else {
		a.Mov(8, asm.RSI, asm.Imm(unix.F_SETFL))
		a.Mov(8, asm.RDX, asm.Imm(unix.O_NONBLOCK))
		call(a, unix.SYS_FCNTL)
	}

	mapPages := func(page, n int64, prot int64, fd, offset int32, code stubabi.Exit) {
		a.Mov(8, asm.RDI, at(locInit+stubabi.OffInitStart))
		a.Alu(asm.Add, 8, asm.RDI, asm.Imm(page*arch.PageSize))
		a.Mov(8, asm.R12, asm.RDI)
		a.Mov(8, asm.RSI, asm.Imm(n*arch.PageSize))
		a.Mov(8, asm.RDX, asm.Imm(prot))
		a.Mov(8, asm.R10, asm.Imm(unix.MAP_FIXED|unix.MAP_SHARED))
		a.Mov(8, asm.R8, at(locInit+fd))
		a.Mov(8, asm.R9, at(locInit+offset))
		call(a, unix.SYS_MMAP)
		exitUnless(a, asm.R12, code)
	}
	mapPages(0, 1, unix.PROT_READ|unix.PROT_EXEC, stubabi.OffInitCodeFD, stubabi.OffInitCodeOffset, stubabi.ExitMapCode)
	mapPages(1, int64(l.DataPages), unix.PROT_READ|unix.PROT_WRITE, stubabi.OffInitDataFD, stubabi.OffInitDataOffset, stubabi.ExitMapData)

	if f != traced {
		a.Mov(8, asm.RDI, asm.Imm(1))
		a.Mov(8, asm.RSI, asm.Imm(0xffffffff))
		a.Mov(8, asm.RDX, asm.Imm(0))
		call(a, unix.SYS_CLOSE_RANGE)
		exitUnless(a, asm.Imm(0), stubabi.ExitCloseRange)
	}

	// The signal stack is all of stub data: the queue page comes last, and
	// a frame that reached it would not have fitted anyway.
	a.Mov(8, asm.RAX, at(locInit+stubabi.OffInitStart))
	a.Alu(asm.Add, 8, asm.RAX, asm.Imm(arch.PageSize))
	a.Mov(8, at(locStack), asm.RAX)
	a.Mov(8, at(locStack+8), asm.Imm(0))
	a.Mov(8, at(locStack+16), asm.Imm(int64(l.DataPages)*arch.PageSize))
	a.Lea(asm.RDI, at(locStack))
	a.Mov(8, asm.RSI, asm.Imm(0))
	call(a, unix.SYS_SIGALTSTACK)
	exitUnless(a, asm.Imm(0), stubabi.ExitAltStack)

	a.Mov(8, asm.RAX, at(locInit+stubabi.OffInitHandler))
	a.Mov(8, at(locAction), asm.RAX)
	a.Mov(8, asm.RAX, asm.Imm(saSiginfo|saRestorer|saOnstack|saNodefer))
	a.Mov(8, at(locAction+8), asm.RAX)
	a.Mov(8, asm.RAX, at(locInit+stubabi.OffInitRestorer))
	a.Mov(8, at(locAction+16), asm.RAX)
	mask, signals := int64(-1), stubSignals(false)
	if f == traced {
		// The handler does not return: nothing would unmask them.
		mask, signals = 0, tracedSignals
	}
	a.Mov(8, at(locAction+24), asm.Imm(mask))
	for _, s := range signals {
		a.Mov(8, asm.RDI, asm.Imm(int64(s.sig)))
		a.Lea(asm.RSI, at(locAction))
		a.Mov(8, asm.RDX, asm.Imm(0))
		a.Mov(8, asm.R10, asm.Imm(8))
		call(a, unix.SYS_RT_SIGACTION)
		exitUnless(a, asm.Imm(0), s.code)
	}
	if f == traced {
		// A late tick must not kill a stub that nobody traces at the moment.
		// It stops one that is traced whatever is done about it.
		a.Mov(8, at(locAction), asm.Imm(sigIgn))
		a.Mov(8, asm.RDI, asm.Imm(int64(unix.SIGALRM)))
		a.Lea(asm.RSI, at(locAction))
		a.Mov(8, asm.RDX, asm.Imm(0))
		a.Mov(8, asm.R10, asm.Imm(8))
		call(a, unix.SYS_RT_SIGACTION)
		exitUnless(a, asm.Imm(0), stubabi.ExitSigAlrm)
	}

	if f == traced {
		stopItself(a)
	} else {
		emitFilter(a, at, f == listening)
	}
	a.Mov(8, asm.RDI, asm.Imm(int64(stubabi.ExitNotFiltered)))
	call(a, unix.SYS_EXIT)
	a.Ud2()

	a.Label("name").Bytes([]byte(StubName + "\x00"))
	a.Align(8)
	// Must come last: the filter is appended here.
	a.Label("filter-length").Zero(8)
	a.Label("filter")
	return a.Assemble()
}

// emitFilter installs the filter; what comes next is trapped.
func emitFilter(a *asm.Assembler, at func(int32) asm.Mem, listener bool) {
	a.Movzx(2, asm.RAX, asm.At("filter-length"))
	a.Mov(8, at(locFprog), asm.RAX)
	a.Lea(asm.RAX, asm.At("filter"))
	a.Mov(8, at(locFprog+8), asm.RAX)
	a.Mov(8, asm.RDI, asm.Imm(unix.SECCOMP_SET_MODE_FILTER))
	flags, result := int64(unix.SECCOMP_FILTER_FLAG_TSYNC), int64(0)
	if listener {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
		result = stubabi.ListenerFD
	}
	a.Mov(8, asm.RSI, asm.Imm(flags))
	a.Lea(asm.RDX, at(locFprog))
	call(a, unix.SYS_SECCOMP)
	exitUnless(a, asm.Imm(result), stubabi.ExitSeccomp)
}

type stubSignal struct {
	sig  unix.Signal
	code stubabi.Exit // if its handler cannot be installed
}

// stubSignals are the signals that a stub handles: UML's, and SIGBUS, which an
// alignment check raises, in a sealed stub.
func stubSignals(sealed bool) []stubSignal {
	s := []stubSignal{
		{unix.SIGSEGV, stubabi.ExitSigSegv},
		{unix.SIGSYS, stubabi.ExitSigSys},
		{unix.SIGALRM, stubabi.ExitSigAlrm},
		{unix.SIGTRAP, stubabi.ExitSigTrap},
		{unix.SIGILL, stubabi.ExitSigIll},
		{unix.SIGFPE, stubabi.ExitSigFpe},
	}
	if sealed {
		s = append(s, stubSignal{unix.SIGBUS, stubabi.ExitSigBus})
	}
	return s
}

// tracedSignals are those of a traced stub. UML's has SIGSEGV alone, and cannot
// tell the trap number and error code of the others.
var tracedSignals = []stubSignal{
	{unix.SIGSEGV, stubabi.ExitSigTraced},
	{unix.SIGTRAP, stubabi.ExitSigTrap},
	{unix.SIGILL, stubabi.ExitSigIll},
	{unix.SIGFPE, stubabi.ExitSigFpe},
	{unix.SIGBUS, stubabi.ExitSigBus},
}

// exitUnless ends the program with a code if rax is not the value wanted.
func exitUnless(a *asm.Assembler, want asm.Operand, code stubabi.Exit) {
	ok := fmt.Sprintf("past-exit-%d-%d", int(code), a.Len())
	a.Alu(asm.Cmp, 8, asm.RAX, want)
	a.Jcc(asm.E, ok)
	a.Mov(8, asm.RDI, asm.Imm(int64(code)))
	call(a, unix.SYS_EXIT)
	a.Label(ok)
}
