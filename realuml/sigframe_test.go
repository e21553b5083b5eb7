package realuml

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// signalFrames looks at what a handler gets and does.
func signalFrames(p *program.Program) {
	const (
		saOnstack   = 0x08000000
		saNodefer   = 0x40000000
		saResethand = 0x80000000
		stackSize   = 64 << 10
	)
	count := p.Word("count")
	p.Reserve("mask", 8, 8)
	p.Reserve("altstack", 24, 8)
	p.Reserve("act", 32, 8)
	p.Func("handler", func() {
		p.Push(asm.RBX)
		p.Push(asm.RBP)
		p.Push(asm.R12)
		p.Mov(8, asm.R12, asm.RDX)
		p.Mov(8, asm.RBP, asm.RSI)
		p.Inc(8, count)
		p.Print("signal: ", asm.RDI, "\n")
		p.Mov(4, asm.RAX, asm.Ptr(asm.RBP, siCode))
		p.Print("code: ", asm.RAX, "\n")
		// The frame's alignment: that of a function just called.
		p.Lea(asm.RAX, asm.Ptr(asm.RSP, 3*8))
		p.Alu(asm.And, 8, asm.RAX, asm.Imm(15))
		p.Print("stack in handler: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucFlags))
		p.Print("context flags: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, 8))
		p.Print("context link: ", asm.RAX, "\n")
		// A process inherits the flags of having no other stack from who
		// executed it, so they tell nothing then.
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, 32))
		p.Print("stack size: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucRegs+7*8)) // r15
		p.Print("r15 in frame: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucRegs+13*8)) // rax
		p.Print("rax in frame: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, 296)) // uc_sigmask
		p.Print("mask in frame: ", asm.RAX, "\n")
		p.Sys(unix.SYS_RT_SIGPROCMASK, 0, 0, program.Label("mask"), 8)
		p.Print("mask in handler: ", asm.At("mask"), "\n")
		// Change a register, and with it what comes after.
		p.Mov(8, asm.Ptr(asm.R12, ucRegs+6*8), asm.Imm(1414))
		p.Pop(asm.R12)
		p.Pop(asm.RBP)
		p.Pop(asm.RBX)
	})
	p.Func("back", func() { p.Sys(unix.SYS_RT_SIGRETURN) })
	act := func(sig unix.Signal, flags, mask int64) {
		p.Lea(asm.RBX, asm.At("act"))
		p.Lea(asm.RAX, asm.At("handler"))
		p.Mov(8, asm.Ptr(asm.RBX, 0), asm.RAX)
		p.Mov(8, asm.RAX, asm.Imm(saRestorer|flags))
		p.Mov(8, asm.Ptr(asm.RBX, 8), asm.RAX)
		p.Lea(asm.RAX, asm.At("back"))
		p.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX)
		p.Mov(8, asm.Ptr(asm.RBX, 24), asm.Imm(mask))
		p.Sys(unix.SYS_RT_SIGACTION, int(sig), program.Label("act"), 0, 8)
		p.Check("rt_sigaction")
	}
	raise := func(name string, sig unix.Signal) {
		p.Print(name + ": " + section + "\n")
		p.Sys(unix.SYS_GETPID)
		p.Mov(8, asm.R15, asm.Imm(1515))
		p.Mov(8, asm.R14, asm.Imm(0))
		p.Sys(unix.SYS_KILL, asm.RAX, int(sig))
		result(p, "kill")
		p.Print("handlers so far: ", count, "\n")
		p.Print("r14 after it: ", asm.R14, "\n")
	}
	act(unix.SIGUSR1, saSiginfo, 0)
	raise("plain", unix.SIGUSR1)
	act(unix.SIGUSR1, saSiginfo|saNodefer, 1<<(unix.SIGUSR2-1)|1<<(unix.SIGALRM-1))
	raise("with a mask", unix.SIGUSR1)
	act(unix.SIGUSR2, saSiginfo|saResethand, 0)
	raise("once", unix.SIGUSR2)
	p.Sys(unix.SYS_RT_SIGACTION, int(unix.SIGUSR2), 0, program.Label("act"), 8)
	p.Print("handler after that: ", asm.At("act"), "\n")

	mmap(p, asm.RBP, fixed, stackSize, rw, private|unix.MAP_FIXED)
	p.Lea(asm.RBX, asm.At("altstack"))
	p.Mov(8, asm.Ptr(asm.RBX, 0), asm.RBP)
	p.Mov(8, asm.Ptr(asm.RBX, 16), asm.Imm(1000))
	p.Print("another stack: " + section + "\n")
	try(p, "too small a stack", unix.SYS_SIGALTSTACK, program.Label("altstack"), 0)
	p.Mov(8, asm.Ptr(asm.RBX, 16), asm.Imm(stackSize))
	try(p, "stack", unix.SYS_SIGALTSTACK, program.Label("altstack"), 0)
	act(unix.SIGUSR1, saSiginfo|saOnstack, 0)
	raise("on the other stack", unix.SIGUSR1)
	try(p, "stack again", unix.SYS_SIGALTSTACK, 0, program.Label("altstack"))
	p.Lea(asm.RBX, asm.At("altstack"))
	p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 8))
	p.Print("its flags: ", asm.RAX, "\n")

	p.Print("masks: " + section + "\n")
	// Blocked, it waits; unblocked, it comes before the call returns.
	p.Mov(8, asm.RAX, asm.Imm(1<<(unix.SIGUSR1-1)))
	p.Mov(8, asm.At("mask"), asm.RAX)
	try(p, "block", unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, program.Label("mask"), 0, 8)
	raise("blocked", unix.SIGUSR1)
	p.Sys(unix.SYS_RT_SIGPENDING, program.Label("mask"), 8)
	p.Print("pending: ", asm.At("mask"), "\n")
	try(p, "unblock", unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, program.Label("mask"), 0, 8)
	p.Print("handlers at the end: ", count, "\n")
}
