package bench

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

func label(name string) program.Label { return program.Label(name) }

// The futex word of the yardstick says whose turn it is. The calls on it are
// those of wake and wait in a stub and its monitor.
const (
	turnParent = 0
	turnChild  = 1
	turnOver   = 2

	futexWait = 0 // linux/futex.h; the shared forms, for two processes
	futexWake = 1
)

// word is the shared word; r15 points at it in both processes.
var word = asm.Ptr(asm.R15, 0)

func futexSetup(s source) {
	s.Sys(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_POPULATE, -1, 0)
	s.Check("mmap")
	s.Mov(8, asm.R15, asm.RAX)
	s.Fork(func() {
		// Nobody would wake a child without a parent.
		s.Sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, unix.SIGKILL)
		s.While(func(end string) {
			s.waitWhile(turnParent)
			s.Alu(asm.Cmp, 4, word, asm.Imm(turnOver))
			s.Jcc(asm.E, end)
			s.pass(turnParent)
		})
	})
}

func futexRound(s source) {
	s.timed(func() {
		s.pass(turnChild)
		s.waitWhile(turnChild)
	})
}

func futexFinish(s source) {
	s.pass(turnOver)
	s.Wait(-1)
}

// pass sets the word and wakes the other.
func (s source) pass(turn int) {
	s.Mov(4, word, asm.Imm(turn))
	s.Sys(unix.SYS_FUTEX, asm.R15, futexWake, 1)
}

// waitWhile sleeps until the word has another value. Whether the call slept,
// was interrupted or found the word changed: the word decides.
func (s source) waitWhile(turn int) {
	s.While(func(end string) {
		s.Alu(asm.Cmp, 4, word, asm.Imm(turn))
		s.Jcc(asm.NE, end)
		s.Sys(unix.SYS_FUTEX, asm.R15, futexWait, turn, 0)
	})
}

// Two pipes: descriptors as pipe2 stores them, reading end first.
var (
	toChildR, toChildW   = asm.At("to-child-r"), asm.At("to-child-w")
	toParentR, toParentW = asm.At("to-parent-r"), asm.At("to-parent-w")
)

func pipeSetup(s source) {
	s.Reserve("byte", 8, 8)
	s.Reserve("ends", 8, 8)
	s.openPipe("to-child")
	s.openPipe("to-parent")
	s.Fork(func() {
		s.Sys(unix.SYS_CLOSE, toChildW)
		s.Sys(unix.SYS_CLOSE, toParentR)
		s.While(func(end string) {
			s.Sys(unix.SYS_READ, toChildR, label("byte"), 1)
			s.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(1))
			s.Jcc(asm.NE, end) // the parent has closed its end
			s.Sys(unix.SYS_WRITE, toParentW, label("byte"), 1)
		})
	})
	s.Sys(unix.SYS_CLOSE, toChildR)
	s.Sys(unix.SYS_CLOSE, toParentW)
}

// openPipe makes a pipe and gives its descriptors words of their own.
func (s source) openPipe(name string) {
	r, w := s.Word(name+"-r"), s.Word(name+"-w")
	s.Sys(unix.SYS_PIPE2, label("ends"), 0)
	s.Check("pipe")
	s.Mov(8, asm.RAX, asm.At("ends"))
	s.Mov(4, asm.RDX, asm.RAX)
	s.Mov(8, r, asm.RDX)
	s.Shr(8, asm.RAX, 32)
	s.Mov(8, w, asm.RAX)
}

func pipeRound(s source) {
	s.timed(func() {
		s.Sys(unix.SYS_WRITE, toChildW, label("byte"), 1)
		s.Sys(unix.SYS_READ, toParentR, label("byte"), 1)
	})
	s.If(asm.RAX, asm.NE, asm.Imm(1), func() {
		s.Print("pipe: no answer from the child\n")
		s.Exit(failed)
	})
}

func pipeFinish(s source) {
	s.Sys(unix.SYS_CLOSE, toChildW)
	s.Wait(-1)
}
