package realuml

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// Places in what a handler gets (asm-generic/siginfo.h, asm/ucontext.h,
// asm/sigcontext.h).
const (
	siCode  = 8
	siAddr  = 16
	ucFlags = 0
	ucRegs  = 40
	ucRSP   = ucRegs + 15*8
	ucRIP   = ucRegs + 16*8
	ucEFL   = ucRegs + 17*8
	ucErr   = ucRegs + 19*8
	ucTrap  = ucRegs + 20*8
	ucCR2   = ucRegs + 22*8
)

// report installs a handler that prints what a signal says and goes on at the
// address in the word "resume".
func report(p *program.Program, signals ...unix.Signal) {
	resume := p.Word("resume")
	p.Func("reporter", func() {
		p.Push(asm.RBX) // the restorer needs the stack as it was, no more
		p.Mov(8, asm.RBX, asm.RSI)
		p.Mov(8, asm.R12, asm.RDX)
		p.Mov(4, asm.R13, asm.Ptr(asm.RBX, siCode))
		p.Mov(8, asm.R14, asm.Ptr(asm.RBX, siAddr))
		p.Print("signal: ", asm.RDI, "\n")
		p.Print("code: ", asm.R13, "\n")
		p.Print("address: ", asm.R14, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucTrap))
		p.Print("trap number: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucErr))
		p.Print("error code: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, asm.Ptr(asm.R12, ucRIP))
		p.Print("instruction: ", asm.RAX, "\n")
		p.Mov(8, asm.RAX, resume)
		p.Mov(8, asm.Ptr(asm.R12, ucRIP), asm.RAX)
		p.Alu(asm.And, 8, asm.Ptr(asm.R12, ucEFL), asm.Imm(^0x40100)) // no single step, no alignment check
		p.Pop(asm.RBX)
	})
	p.Func("back", func() { p.Sys(unix.SYS_RT_SIGRETURN) })
	p.Reserve("reporting", 32, 8)
	p.Lea(asm.RBX, asm.At("reporting"))
	p.Lea(asm.RAX, asm.At("reporter"))
	p.Mov(8, asm.Ptr(asm.RBX, 0), asm.RAX)
	p.Mov(8, asm.RAX, asm.Imm(saSiginfo|saRestorer))
	p.Mov(8, asm.Ptr(asm.RBX, 8), asm.RAX)
	p.Lea(asm.RAX, asm.At("back"))
	p.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX)
	for _, s := range signals {
		p.Sys(unix.SYS_RT_SIGACTION, int(s), program.Label("reporting"), 0, 8)
		p.Check("rt_sigaction")
	}
}

// provoke runs instructions that raise a signal, which the reporter prints.
func provoke(p *program.Program, name string, do func()) {
	after := p.Fresh()
	p.Print(name + ": " + section + "\n")
	p.Lea(asm.RAX, asm.At(after))
	p.Mov(8, asm.At("resume"), asm.RAX)
	do()
	p.Print("signal: none\n")
	p.Label(after)
}

const (
	saSiginfo  = 0x4
	saRestorer = 0x04000000
)

func faults(p *program.Program) {
	report(p, unix.SIGSEGV, unix.SIGBUS)
	for _, m := range []struct{ addr, prot int }{
		{fixed, unix.PROT_READ},
		{fixed + 0x10000, unix.PROT_NONE},
		{fixed + 0x20000, rw},
		{fixed + 0x30000, unix.PROT_WRITE},
		{fixed + 0x40000, rw},
	} {
		p.Sys(unix.SYS_MMAP, m.addr, 4096, m.prot, private|unix.MAP_FIXED, -1, 0)
		p.Check("mmap")
	}
	access := func(name string, addr int, write bool) {
		provoke(p, name, func() {
			p.Mov(8, asm.R12, asm.Imm(addr+8))
			if write {
				p.Mov(4, asm.Ptr(asm.R12, 0), asm.Imm(1))
			} else {
				p.Mov(4, asm.RAX, asm.Ptr(asm.R12, 0))
			}
		})
	}
	access("read where nothing is", nowhere, false)
	access("write where nothing is", nowhere, true)
	access("write to what can only be read", fixed, true)
	access("read what can only be read", fixed, false)
	access("write to it after that", fixed, true)
	access("read without rights", fixed+0x10000, false)
	access("write without rights", fixed+0x10000, true)
	access("write to memory", fixed+0x20000, true)
	access("read what can only be written", fixed+0x30000, false)
	access("read beyond the user's half", -0x1000, false)
	access("write beyond the user's half", -0x1000, true)
	access("read at the very end", 0x7ffffffff000-8, false)
	p.Sys(unix.SYS_MPROTECT, fixed+0x20000, 4096, unix.PROT_READ)
	access("write after mprotect", fixed+0x20000, true)
	p.Sys(unix.SYS_MPROTECT, fixed+0x20000, 4096, unix.PROT_NONE)
	access("read after mprotect", fixed+0x20000, false)
	p.Sys(unix.SYS_MUNMAP, fixed+0x20000, 4096)
	access("read after munmap", fixed+0x20000, false)
	provoke(p, "non-canonical address", func() {
		p.Mov(8, asm.R12, asm.Imm(0x1234_5678_9abc_def0))
		p.Mov(4, asm.RAX, asm.Ptr(asm.R12, 0))
	})
	call := func(name string, addr int) {
		provoke(p, name, func() {
			p.Mov(8, asm.R12, asm.Imm(addr))
			p.CallTo(asm.R12)
			// What it pushed is lost with the signal; nobody returns there.
		})
	}
	call("execute where nothing is", nowhere)
	p.Mov(8, asm.RBX, asm.Imm(fixed+0x40000))
	p.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(0xc3)) // ret
	call("execute what cannot be executed", fixed+0x40000)
	provoke(p, "privileged instruction", func() { p.Bytes([]byte{0xf4}) }) // hlt
}

func traps(p *program.Program) {
	report(p, unix.SIGTRAP, unix.SIGILL, unix.SIGFPE, unix.SIGSEGV, unix.SIGBUS)
	provoke(p, "breakpoint", p.Int3)
	provoke(p, "undefined instruction", p.Ud2)
	provoke(p, "division by zero", func() {
		p.Alu(asm.Xor, 4, asm.RDX, asm.RDX)
		p.Alu(asm.Xor, 4, asm.RCX, asm.RCX)
		p.Mov(8, asm.RAX, asm.Imm(1))
		p.Div(8, asm.RCX)
	})
	provoke(p, "division overflow", func() {
		p.Mov(8, asm.RDX, asm.Imm(5))
		p.Mov(8, asm.RCX, asm.Imm(2))
		p.Div(8, asm.RCX)
	})
	provoke(p, "software interrupt", func() { p.Bytes([]byte{0xcd, 0x03}) }) // int 3, the long way
	provoke(p, "interrupt of the kernel's", func() { p.Bytes([]byte{0xcd, 0x20}) })
	provoke(p, "port", func() { p.Bytes([]byte{0xec}) }) // in al, dx
	provoke(p, "floating point", func() {
		p.Word("mxcsr")
		p.Lea(asm.RBX, asm.At("mxcsr"))
		p.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(0x1f80&^0x200)) // division by zero is not masked
		p.Bytes([]byte{0x0f, 0xae, 0x13})                     // ldmxcsr [rbx]
		p.Bytes([]byte{0x0f, 0x57, 0xc9})                     // xorps xmm1, xmm1
		p.Mov(8, asm.RAX, asm.Imm(1))
		p.Bytes([]byte{0xf3, 0x48, 0x0f, 0x2a, 0xc0}) // cvtsi2ss xmm0, rax
		p.Bytes([]byte{0xf3, 0x0f, 0x5e, 0xc1})       // divss xmm0, xmm1
	})
	p.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(0x1f80))
	p.Bytes([]byte{0x0f, 0xae, 0x13})
}

func singleStep(p *program.Program) {
	report(p, unix.SIGTRAP)
	provoke(p, "single step", func() {
		p.Bytes([]byte{0x9c}) // pushfq
		p.Alu(asm.Or, 8, asm.Ptr(asm.RSP, 0), asm.Imm(0x100))
		p.Bytes([]byte{0x9d}) // popfq
		p.Nop()
		p.Nop()
	})
}
