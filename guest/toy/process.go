package toy

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// forkStatus is what the child of fork exits with.
const forkStatus = 7

func fork(p *program.Program) {
	getpid(p, asm.R12)
	p.Print("  process ", asm.R12, " forks\n")
	p.Fork(func() {
		getpid(p, asm.R13)
		p.Sys(unix.SYS_GETPPID)
		must(p, asm.RAX, asm.E, asm.R12, "the parent should be who forked")
		p.Print("  process ", asm.R13, " is the copy: it knows all that its parent, process ", asm.RAX, ", knew;\n"+
			"  it exits with status ", forkStatus, "\n")
		p.Exit(forkStatus)
	})
	p.Mov(8, asm.R13, asm.RAX)
	p.Wait(asm.R13)
	p.Shr(8, asm.RAX, 8) // WEXITSTATUS
	must(p, asm.RAX, asm.E, asm.Imm(forkStatus), "the status should be 7")
	p.Print("  process ", asm.R12, " waited: process ", asm.R13, " exited with status ", asm.RAX, "\n")
}

// greet is the program that exec executes.
const greet = "greet"

func exec(p *program.Program) {
	getpid(p, asm.R12)
	p.Print("  process ", asm.R12, " forks; its child executes ./greet with two words\n")
	p.Fork(func() { execute(p, greet, "hello,", "world") })
	p.Mov(8, asm.R13, asm.RAX)
	p.Wait(asm.R13)
	p.Shr(8, asm.RAX, 8)
	must(p, asm.RAX, asm.E, asm.Imm(2), "the status should be the number of words")
	p.Print("  process ", asm.R12, " waited: process ", asm.R13, " exited with status ", asm.RAX, "\n")
}

// greeting prints its arguments and exits with their number.
func greeting(p *program.Program) {
	p.Mov(8, asm.R14, asm.Ptr(asm.RSP, 0)) // argc
	p.Dec(8, asm.R14)
	p.Lea(asm.RBP, asm.Ptr(asm.RSP, 16)) // &argv[1]
	getpid(p, asm.R12)
	p.Print("  process ", asm.R12, " is another program now. It says:")
	p.Loop(asm.R13, asm.R14, func() {
		p.Print(" ")
		p.Mov(8, asm.RBX, asm.Ptr(asm.RBP, 0))
		p.Alu(asm.Add, 8, asm.RBP, asm.Imm(8))
		p.Mov(8, asm.RDX, asm.Imm(0))
		p.While(func(end string) { // the length of the word
			p.Alu(asm.Cmp, 1, asm.Idx(asm.RBX, asm.RDX, 1, 0), asm.Imm(0))
			p.Jcc(asm.E, end)
			p.Inc(8, asm.RDX)
		})
		p.Sys(unix.SYS_WRITE, 1, asm.RBX, asm.RDX)
	})
	p.Print("\n")
	p.Exit(asm.R14)
}

func crash(p *program.Program) {
	getpid(p, asm.R12)
	p.Print("  process ", asm.R12, " forks; its child reads what is at address 0\n")
	p.Fork(func() {
		p.Mov(8, asm.RBX, asm.Imm(0))
		p.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		p.Print("  WRONG: there is something at address 0\n")
		p.Exit(1)
	})
	p.Mov(8, asm.R13, asm.RAX)
	p.Wait(asm.R13)
	p.Alu(asm.And, 8, asm.RAX, asm.Imm(0x7f)) // WTERMSIG; a core dump would be 0x80
	must(p, asm.RAX, asm.E, asm.Imm(unix.SIGSEGV), "SIGSEGV should have killed the child")
	p.Print("  process ", asm.R13, " was killed by signal ", asm.RAX, ", SIGSEGV\n")
	p.Print("  process ", asm.R12, " goes on\n")
}
