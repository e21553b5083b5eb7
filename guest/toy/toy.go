package toy

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// Init is the name of the program that runs as process 1.
const Init = "init"

// demos are the programs that init runs, in this order.
var demos = []struct {
	name, title string
	code        func(*program.Program)
}{
	{"fork", "a process makes a copy of itself", fork},
	{"exec", "a process becomes another program", exec},
	{"paging", "memory comes when it is touched", paging},
	{"cow", "fork copies no memory, the first write to a page does", cow},
	{"fault", "a process can handle its own page faults", fault},
	{"crash", "a crash ends one process, not the machine", crash},
	{"pipe", "one process writes, another reads", pipe},
	{"preempt", "nobody has to give up the CPU", preempt},
}

// Programs assembles the images, by file name.
func Programs() map[string][]byte {
	images := map[string][]byte{
		Init:  build(initProgram),
		greet: build(greeting),
	}
	for _, d := range demos {
		images[d.name] = build(d.code)
	}
	return images
}

// build finishes a program; one that falls off its end has succeeded.
func build(code func(*program.Program)) []byte {
	p := program.New()
	code(p)
	p.Exit(0)
	return p.MustBuild()
}

func initProgram(p *program.Program) {
	p.Print("A guest has booted. Each of its processes runs in a host process of its own, a\n" +
		"stub, that leaves every system call, page fault and timer tick to the monitor.\n")
	p.Mov(8, asm.R12, asm.Imm(0)) // failures
	for _, d := range demos {
		p.Print("\n" + d.name + ": " + d.title + "\n")
		p.Fork(func() { execute(p, d.name) })
		p.Wait(asm.RAX)
		p.If(asm.RAX, asm.NE, asm.Imm(0), func() {
			p.Print("  FAILED with wait status ", asm.RAX, "\n")
			p.Inc(8, asm.R12)
		})
	}
	p.If(asm.R12, asm.NE, asm.Imm(0), func() {
		p.Print("\n", asm.R12, " demonstrations failed.\n")
		p.Exit(1)
	})
	p.Print("\nThat was all. The first process ends, and the machine with it.\n")
}

// execute replaces the process with another program of this package.
func execute(p *program.Program, name string, args ...string) {
	p.Sys(unix.SYS_EXECVE, "./"+name, p.Vector(append([]string{name}, args...)...), p.Vector())
	p.Check("execve " + name)
}

// must ends the program if a op b, compared as 8 bytes, does not hold.
func must(p *program.Program, a asm.Operand, op asm.Cond, b asm.Operand, what string) {
	p.If(a, op^1, b, func() {
		p.Print("  WRONG: "+what+", but ", a, "\n")
		p.Exit(1)
	})
}

// getpid leaves the process number in r.
func getpid(p *program.Program, r asm.Reg) {
	p.Sys(unix.SYS_GETPID)
	p.Mov(8, r, asm.RAX)
}
