package toy

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// What goes through the pipe, in bytes: 16 times what it holds.
const (
	pipeTotal = 1 << 20
	pipePiece = 4096
)

// pipe sends numbers from a child to its parent; both add them up, and the
// child's sum comes last. Registers: rbx the buffer, r12 and r13 the two pids,
// r14 the sum, r15 the bytes so far.
func pipe(p *program.Program) {
	buffer := p.Reserve("buffer", pipePiece, pageSize)
	p.Reserve("ends", 8, 8) // int[2]
	sums := p.Word("sum")
	// Adds the words of the buffer to r14.
	p.Func("add", func() {
		p.Loop(asm.RCX, pipePiece/8, func() {
			p.Alu(asm.Add, 8, asm.R14, asm.Idx(asm.RBX, asm.RCX, 8, -8))
		})
	})
	end := func(i int32) { // leaves a descriptor in rdi
		p.Lea(asm.RAX, asm.At("ends"))
		p.Movsxd(asm.RDI, asm.Ptr(asm.RAX, 4*i))
	}

	getpid(p, asm.R12)
	p.Sys(unix.SYS_PIPE2, program.Label("ends"), 0)
	p.Check("pipe2")
	p.Load(asm.RBX, buffer)
	p.Mov(8, asm.R14, asm.Imm(0))
	p.Mov(8, asm.R15, asm.Imm(0))
	p.Fork(func() {
		getpid(p, asm.R13)
		end(0)
		p.Sys(unix.SYS_CLOSE, asm.RDI)
		p.Mov(8, asm.RBP, asm.Imm(12345))
		p.Loop(asm.R12, pipeTotal/pipePiece, func() {
			p.Loop(asm.RCX, pipePiece/8, func() {
				// Any generator does; this is Numerical Recipes' one.
				p.Mov(8, asm.RAX, asm.Imm(1664525))
				p.Imul(8, asm.RBP, asm.RAX)
				p.Alu(asm.Add, 8, asm.RBP, asm.Imm(1013904223))
				p.Mov(4, asm.RAX, asm.RBP)
				p.Mov(8, asm.Idx(asm.RBX, asm.RCX, 8, -8), asm.RAX)
			})
			p.Call("add")
			end(1)
			p.Sys(unix.SYS_WRITE, asm.RDI, asm.RBX, pipePiece)
			p.Check("write")
			p.Alu(asm.Add, 8, asm.R15, asm.RAX)
		})
		p.Mov(8, sums, asm.R14)
		end(1)
		p.Sys(unix.SYS_WRITE, asm.RDI, program.Label("sum"), 8)
		p.Check("write")
		p.Print("  process ", asm.R13, " wrote ", asm.R15, " bytes; the sum of the numbers in them is ", asm.R14, "\n")
	})
	p.Mov(8, asm.R13, asm.RAX)
	end(1)
	p.Sys(unix.SYS_CLOSE, asm.RDI)
	p.While(func(done string) {
		p.Alu(asm.Cmp, 8, asm.R15, asm.Imm(pipeTotal))
		p.Jcc(asm.E, done)
		p.Mov(8, asm.RBP, asm.Imm(0))
		p.While(func(full string) { // a read may give less
			p.Alu(asm.Cmp, 8, asm.RBP, asm.Imm(pipePiece))
			p.Jcc(asm.E, full)
			end(0)
			p.Mov(8, asm.RDX, asm.Imm(pipePiece))
			p.Alu(asm.Sub, 8, asm.RDX, asm.RBP)
			p.Lea(asm.RSI, asm.Idx(asm.RBX, asm.RBP, 1, 0))
			p.Sys(unix.SYS_READ, asm.RDI, asm.RSI, asm.RDX)
			p.Check("read")
			must(p, asm.RAX, asm.NE, asm.Imm(0), "the pipe should not end early")
			p.Alu(asm.Add, 8, asm.RBP, asm.RAX)
		})
		p.Call("add")
		p.Alu(asm.Add, 8, asm.R15, asm.RBP)
	})
	end(0)
	p.Sys(unix.SYS_READ, asm.RDI, program.Label("sum"), 8)
	p.Check("read")
	p.Wait(asm.R13)
	must(p, asm.RAX, asm.E, asm.Imm(0), "the writer should have succeeded")
	p.Print("  process ", asm.R12, " read ", asm.R15, " bytes; the sum of the numbers in them is ", asm.R14, "\n")
	must(p, asm.R14, asm.E, sums, "the sums should be equal")
	end(0)
	p.Sys(unix.SYS_READ, asm.RDI, program.Label("sum"), 8)
	must(p, asm.RAX, asm.E, asm.Imm(0), "the pipe should be at its end")
}
