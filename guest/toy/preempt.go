package toy

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// preempt lets two children count, for a second, in memory that they share with
// their parent. They make no system calls, so only ticks can take the CPU from
// one and give it to the other. Registers: rbx the counters, r13 and r14 the
// children.
func preempt(p *program.Program) {
	const line = 64                       // bytes between the counters: a cache line
	p.Data("second", []byte{0: 1, 15: 0}) // struct timespec
	p.Reserve("usage", usageSize, 8)
	p.Sys(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, -1, 0)
	p.Check("mmap")
	p.Mov(8, asm.RBX, asm.RAX)
	for i, child := range []asm.Reg{asm.R13, asm.R14} {
		p.Fork(func() {
			p.While(func(string) { p.Inc(8, asm.Ptr(asm.RBX, int32(i)*line)) })
		})
		p.Mov(8, child, asm.RAX)
	}
	p.Print("  processes ", asm.R13, " and ", asm.R14, " count as fast as they can, without any system call\n")
	p.Sys(unix.SYS_NANOSLEEP, program.Label("second"), 0)
	p.Check("nanosleep")
	// Both are stopped before either is looked at.
	p.Sys(unix.SYS_KILL, asm.R13, unix.SIGKILL)
	p.Check("kill")
	p.Sys(unix.SYS_KILL, asm.R14, unix.SIGKILL)
	p.Check("kill")
	for i, child := range []asm.Reg{asm.R13, asm.R14} {
		p.Sys(unix.SYS_WAIT4, child, 0, 0, program.Label("usage"))
		p.Check("wait4")
		p.Lea(asm.RAX, asm.At("usage"))
		p.Mov(8, asm.RBP, asm.Ptr(asm.RAX, usageNivcsw))
		// Its share, in per cent of both, rounded: (100 x + all/2) / all.
		p.Mov(8, asm.RCX, asm.Ptr(asm.RBX, 0))
		p.Alu(asm.Add, 8, asm.RCX, asm.Ptr(asm.RBX, line))
		p.Mov(8, asm.RAX, asm.Imm(100))
		p.Imul(8, asm.RAX, asm.Ptr(asm.RBX, int32(i)*line))
		p.Mov(8, asm.RDX, asm.RCX)
		p.Shr(8, asm.RDX, 1)
		p.Alu(asm.Add, 8, asm.RAX, asm.RDX)
		p.Mov(8, asm.RDX, asm.Imm(0))
		p.Div(8, asm.RCX)
		p.Print("  process ", child, " did ", asm.RAX, " % of the work; the CPU was taken from it ", asm.RBP, " times\n")
		must(p, asm.Ptr(asm.RBX, int32(i)*line), asm.NE, asm.Imm(0), "both should have counted")
	}
}
