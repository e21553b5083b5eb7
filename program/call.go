package program

import (
	"slices"

	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// arguments is where a system call finds its arguments.
var arguments = []asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}

// Sys makes a system call. Arguments are loaded in order, so none may read a
// register that an earlier one has filled. The result is in rax; rcx and r11
// are lost, and so are the argument registers, by their loading alone.
func (p *Program) Sys(nr int, args ...any) {
	if len(args) > len(arguments) {
		p.fail("system call %d with %d arguments", nr, len(args))
		return
	}
	for i, arg := range args {
		p.load(arguments[i], arg, arguments[:i])
	}
	p.Mov(8, asm.RAX, asm.Imm(nr))
	p.Syscall()
}

// Load puts an argument into a register.
func (p *Program) Load(dst asm.Reg, arg any) { p.load(dst, arg, nil) }

func (p *Program) load(dst asm.Reg, arg any, gone []asm.Reg) {
	reads := func(yes func(asm.Reg) bool) {
		if i := slices.IndexFunc(gone, yes); i >= 0 {
			p.fail("an argument reads register %d, which an earlier one has filled", gone[i])
		}
	}
	switch x := arg.(type) {
	case int:
		p.Mov(8, dst, asm.Imm(x))
	case uintptr:
		p.Mov(8, dst, asm.Imm(x))
	case unix.Signal:
		p.Mov(8, dst, asm.Imm(x))
	case asm.Imm:
		p.Mov(8, dst, x)
	case string:
		p.Lea(dst, asm.At(string(p.Text(x))))
	case Label:
		p.Lea(dst, asm.At(string(x)))
	case Addr:
		reads(asm.Mem(x).Reads)
		p.Lea(dst, asm.Mem(x))
	case asm.Mem:
		reads(x.Reads)
		p.Mov(8, dst, x)
	case asm.Reg:
		reads(func(r asm.Reg) bool { return r == x })
		if x != dst {
			p.Mov(8, dst, x)
		}
	default:
		p.fail("an argument of type %T", arg)
	}
}

// Check ends the program with status 99 and a message if rax holds the error
// of a system call.
func (p *Program) Check(what string) {
	ok := p.Fresh()
	p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(-4095))
	p.Jcc(asm.B, ok)
	p.Neg(8, asm.RAX)
	p.Print(what, ": error ", asm.RAX, "\n")
	p.Exit(99)
	p.Label(ok)
}

// Exit ends the process.
func (p *Program) Exit(status any) { p.Sys(unix.SYS_EXIT_GROUP, status) }

// Fork makes a process that runs child and, if that comes to its end, exits
// with status 0. The parent goes on, with the child's pid in rax.
func (p *Program) Fork(child func()) {
	parent := p.Fresh()
	p.Sys(unix.SYS_FORK)
	p.Check("fork")
	p.Test(8, asm.RAX, asm.RAX)
	p.Jcc(asm.NE, parent)
	child()
	p.Exit(0)
	p.Label(parent)
}

// Wait waits for a child, -1 for any, and leaves its wait status in rax.
func (p *Program) Wait(pid any) {
	const status = ".status"
	if p.once(status) {
		p.Reserve(status, 8, 8)
	}
	p.Sys(unix.SYS_WAIT4, pid, Label(status), 0, 0)
	p.Check("wait4")
	p.Mov(4, asm.RAX, asm.At(status))
}

// once says that it is asked for the first time.
func (p *Program) once(name string) bool {
	seen := p.routine[name]
	p.routine[name] = true
	return !seen
}
