package realuml

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// How a Guest talks to its attendant over the console: a command is a line of
// words; behind what the program has written comes the answer, with its wait
// status in decimal and the end of a line. The answer to no command is the first
// one: the guest is up.
const (
	answer   = "\x01status "
	maxLine  = 512 // bytes, less than a terminal's line may have
	maxWords = 8
)

// Fields of struct termios (asm-generic/termbits.h).
const (
	termiosOflag = 4
	termiosLflag = 12
)

// attendant assembles the init that runs programs on demand.
func attendant() ([]byte, error) {
	p := program.New()
	mount(p)
	p.Reserve("termios", 64, 8)
	p.Reserve("line", maxLine, 8)
	p.Reserve("words", 8*(maxWords+1), 8)

	// The console passes output on as it is, does not repeat its input, and
	// still gives it line by line.
	p.Sys(unix.SYS_IOCTL, 0, unix.TCGETS, program.Label("termios"))
	p.Check("console")
	p.Lea(asm.RBX, asm.At("termios"))
	p.Mov(4, asm.Ptr(asm.RBX, termiosOflag), asm.Imm(0))
	p.Mov(4, asm.Ptr(asm.RBX, termiosLflag), asm.Imm(unix.ICANON))
	p.Sys(unix.SYS_IOCTL, 0, unix.TCSETS, asm.RBX)
	p.Check("console")

	none := p.Vector()
	p.Mov(8, asm.RAX, asm.Imm(0))
	p.While(func(end string) {
		p.Print(answer, asm.RAX, "\n")
		p.Sys(unix.SYS_READ, 0, program.Label("line"), maxLine)
		p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(1))
		p.Jcc(asm.L, end)
		split(p)
		p.Fork(func() {
			p.Sys(unix.SYS_EXECVE, asm.At("words"), program.Label("words"), none)
			p.Exit(noExec)
		})
		p.Wait(asm.RAX)
	})
	powerOff(p)
	return p.Build()
}

// split makes the line an argument vector.
func split(p *program.Program) {
	p.Lea(asm.RSI, asm.At("line"))
	p.Lea(asm.RDI, asm.At("words"))
	p.While(func(end string) {
		p.Mov(8, asm.Ptr(asm.RDI, 0), asm.RSI)
		p.Alu(asm.Add, 8, asm.RDI, asm.Imm(8))
		p.While(func(over string) {
			p.Movzx(1, asm.RAX, asm.Ptr(asm.RSI, 0))
			p.Inc(8, asm.RSI)
			for _, c := range " \n" {
				p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(c))
				p.Jcc(asm.E, over)
			}
		})
		p.Mov(1, asm.Ptr(asm.RSI, -1), asm.Imm(0))
		p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm('\n'))
		p.Jcc(asm.E, end)
	})
	p.Mov(8, asm.Ptr(asm.RDI, 0), asm.Imm(0))
}
