package realuml

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// stubPrograms are process 1 of a guest, one after the other, and end it by
// exit. Each is about one thing that a stub has to do. One with an entry under
// meant differs on purpose, for that reason, in steps that no trace.Exception can
// make the same.
var stubPrograms = []struct {
	name  string
	build func(p *program.Program)
	meant string
}{
	{name: "seed", build: seed},
	{name: "demand paging", build: demandPaging},
	{name: "unmap and map again", build: unmapAndMapAgain},
	{name: "mprotect", build: protect},
	{name: "populate", build: populate},
	{name: "kernel writes to fresh pages", build: kernelWrites},
	{name: "heap", build: heap},
	{name: "stack growth", build: stackGrowth},
	{name: "fs and gs base", build: bases},
	{name: "exceptions", build: exceptions},
	{name: "signal handler", build: signalHandler},
	{name: "exec", build: execAgain},
	{name: "loop over many ticks", build: manyTicks},
	{name: "mremap", build: remap},
	{name: "more entries than a batch holds", build: largeBatch},
	{name: "zeroed memory", build: bss},
	{name: "read before write", build: readBeforeWrite},
	{name: "kernel reads data", build: kernelReads},
	{name: "file pages around", build: fileAround},
	{name: "no access", build: noAccess},

	{name: "fork and copy on write", build: forkCOW, meant: forkReason},
	{name: "fork and exit", build: forkExit, meant: forkReason},
	{name: "shared anonymous memory", build: shared, meant: forkReason},
}

// forkReason is why children begin otherwise.
const forkReason = "UML's fork copies no entries of file pages and of shared memory, and copies others as not accessed: " +
	"these are mapped without any right but execution at first, and each page faults once in the child. Ours maps all pages " +
	"for reading in the child's first batch: the child is spared those faults, which makes fork and exec from a shell " +
	"4 to 15 % faster, and no program can tell."

const (
	rw      = unix.PROT_READ | unix.PROT_WRITE
	private = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	// fixed is a place that both kernels leave free.
	fixed = 0x10000000
)

// succeed ends the program if rax holds an error. What package program has for
// that, and for fork and wait, needs zeroed memory: these programs have none
// that they are not about.
func succeed(p *program.Program) {
	ok := p.Fresh()
	p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(-4095))
	p.Jcc(asm.B, ok)
	p.Exit(99)
	p.Label(ok)
}

// forkAndWait runs child in a process of its own and waits for it.
func forkAndWait(p *program.Program, child func()) {
	parent := p.Fresh()
	p.Sys(unix.SYS_FORK)
	succeed(p)
	p.Test(8, asm.RAX, asm.RAX)
	p.Jcc(asm.NE, parent)
	child()
	p.Exit(0)
	p.Label(parent)
	p.Sys(unix.SYS_WAIT4, asm.RAX, 0, 0, 0)
	succeed(p)
}

// mmap maps anonymous memory and leaves its address in r.
func mmap(p *program.Program, r asm.Reg, addr, length, prot, flags int) {
	p.Sys(unix.SYS_MMAP, addr, length, prot, flags, -1, 0)
	succeed(p)
	p.Mov(8, r, asm.RAX)
}

// touch writes to the pages numbered from an address in a register. What it
// writes is no small number, which could be taken for a process.
func touch(p *program.Program, r asm.Reg, pages ...int32) {
	for _, n := range pages {
		p.Mov(4, asm.Ptr(r, n*4096), asm.Imm(0x1100+int64(n)))
	}
}

// look reads them.
func look(p *program.Program, r asm.Reg, pages ...int32) {
	for _, n := range pages {
		p.Mov(4, asm.RAX, asm.Ptr(r, n*4096))
	}
}

func demandPaging(p *program.Program) {
	mmap(p, asm.RBX, 0, 8*4096, rw, private)
	touch(p, asm.RBX, 0, 3, 1, 7)
	p.Exit(0)
}

func readBeforeWrite(p *program.Program) {
	mmap(p, asm.RBX, 0, 4*4096, rw, private)
	look(p, asm.RBX, 0, 1)
	touch(p, asm.RBX, 1, 2)
	look(p, asm.RBX, 2, 3)
	p.Exit(0)
}

func bss(p *program.Program) {
	p.Data("words", []byte("words"))
	p.Reserve("zeros", 3*4096, 16)
	p.Lea(asm.RBX, asm.At("zeros"))
	touch(p, asm.RBX, 0, 2)
	p.Exit(0)
}

func fileAround(p *program.Program) {
	p.Data("words", make([]byte, 2*4096))
	p.Lea(asm.RBX, asm.At("words"))
	look(p, asm.RBX, 0)
	touch(p, asm.RBX, 0, 1)
	p.Exit(0)
}

func unmapAndMapAgain(p *program.Program) {
	mmap(p, asm.RBX, fixed, 6*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1, 2, 3, 4, 5)
	p.Sys(unix.SYS_MUNMAP, fixed+4096, 2*4096)
	mmap(p, asm.R13, fixed+4096, 4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 1)
	p.Sys(unix.SYS_MUNMAP, fixed, 8*4096)
	p.Exit(0)
}

func protect(p *program.Program) {
	mmap(p, asm.RBX, fixed, 4*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1, 2)
	p.Sys(unix.SYS_MPROTECT, fixed, 2*4096, unix.PROT_READ)
	look(p, asm.RBX, 0)
	p.Sys(unix.SYS_MPROTECT, fixed, 4*4096, rw)
	touch(p, asm.RBX, 0, 1, 2, 3)
	p.Exit(0)
}

func noAccess(p *program.Program) {
	mmap(p, asm.RBX, fixed, 2*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1)
	p.Sys(unix.SYS_MPROTECT, fixed, 2*4096, unix.PROT_NONE)
	p.Sys(unix.SYS_MPROTECT, fixed, 2*4096, rw)
	touch(p, asm.RBX, 0, 1)
	p.Exit(0)
}

func populate(p *program.Program) {
	mmap(p, asm.RBX, 0, 16*4096, rw, private|unix.MAP_POPULATE)
	touch(p, asm.RBX, 0, 5, 15)
	p.Sys(unix.SYS_MUNMAP, asm.RBX, 16*4096)
	p.Exit(0)
}

func kernelWrites(p *program.Program) {
	mmap(p, asm.RBX, 0, 4*4096, rw, private)
	p.Sys(unix.SYS_UNAME, asm.RBX)
	p.Lea(asm.R13, asm.Ptr(asm.RBX, 2*4096-8))
	p.Sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, asm.R13)
	touch(p, asm.RBX, 1, 2)
	p.Exit(0)
}

func heap(p *program.Program) {
	p.Sys(unix.SYS_BRK, 0)
	p.Mov(8, asm.RBX, asm.RAX)
	p.Lea(asm.RDI, asm.Ptr(asm.RBX, 4*4096))
	p.Sys(unix.SYS_BRK, asm.RDI)
	touch(p, asm.RBX, 0, 3)
	p.Lea(asm.RDI, asm.Ptr(asm.RBX, 4096))
	p.Sys(unix.SYS_BRK, asm.RDI)
	touch(p, asm.RBX, 0)
	p.Exit(0)
}

func stackGrowth(p *program.Program) {
	p.Mov(8, asm.RBX, asm.RSP)
	p.Alu(asm.And, 8, asm.RBX, asm.Imm(-4096))
	touch(p, asm.RBX, -1, -2, -5)
	p.Exit(0)
}

func bases(p *program.Program) {
	const setGS, setFS = 0x1001, 0x1002 // asm/prctl.h
	p.Sys(unix.SYS_ARCH_PRCTL, setFS, fixed)
	p.Sys(unix.SYS_GETPID)
	p.Sys(unix.SYS_ARCH_PRCTL, setFS, fixed+4096)
	p.Sys(unix.SYS_ARCH_PRCTL, setGS, fixed+8192)
	p.Sys(unix.SYS_ARCH_PRCTL, setGS, fixed+8192)
	p.Exit(0)
}

// handle installs a handler for signals that skips as many bytes of the
// interrupted instruction as r12 says.
func handle(p *program.Program, signals ...unix.Signal) {
	p.Func("handler", func() {
		// rdx is the ucontext: rip lies behind the flags, the link, the
		// stack and 16 registers (asm/ucontext.h, asm/sigcontext.h).
		p.Alu(asm.Add, 8, asm.Ptr(asm.RDX, 40+16*8), asm.R12)
	})
	p.Func("restorer", func() {
		p.Sys(unix.SYS_RT_SIGRETURN)
	})
	p.Data("action", make([]byte, 32))
	p.Lea(asm.RAX, asm.At("handler"))
	p.Mov(8, asm.At("action"), asm.RAX)
	p.Lea(asm.RBX, asm.At("action"))
	p.Mov(8, asm.Ptr(asm.RBX, 8), asm.Imm(0x04000004)) // SA_RESTORER|SA_SIGINFO
	p.Lea(asm.RAX, asm.At("restorer"))
	p.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX)
	for _, s := range signals {
		p.Sys(unix.SYS_RT_SIGACTION, int(s), program.Label("action"), 0, 8)
		succeed(p)
	}
}

func exceptions(p *program.Program) {
	handle(p, unix.SIGTRAP, unix.SIGILL, unix.SIGFPE)
	p.Mov(8, asm.R12, asm.Imm(0))
	p.Int3() // the handler finds the address behind it
	p.Mov(8, asm.R12, asm.Imm(2))
	p.Ud2()
	p.Mov(8, asm.R12, asm.Imm(3))
	p.Alu(asm.Xor, 4, asm.RDX, asm.RDX)
	p.Alu(asm.Xor, 4, asm.RCX, asm.RCX)
	p.Mov(8, asm.RAX, asm.Imm(1))
	p.Div(8, asm.RCX)
	p.Exit(0)
}

func signalHandler(p *program.Program) {
	handle(p, unix.SIGUSR1, unix.SIGSEGV)
	p.Mov(8, asm.R12, asm.Imm(0))
	p.Sys(unix.SYS_GETPID)
	p.Sys(unix.SYS_KILL, asm.RAX, int(unix.SIGUSR1))
	p.Mov(8, asm.RBX, asm.Imm(fixed))
	p.Mov(8, asm.R12, asm.Imm(2))
	p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 0))
	p.Exit(0)
}

func forkCOW(p *program.Program) {
	mmap(p, asm.RBX, fixed, 4*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1, 2)
	forkAndWait(p, func() {
		look(p, asm.RBX, 0)
		touch(p, asm.RBX, 1, 3)
	})
	touch(p, asm.RBX, 0, 1, 2)
	p.Exit(0)
}

func forkExit(p *program.Program) {
	forkAndWait(p, func() {})
	forkAndWait(p, func() { p.Exit(1) })
	p.Exit(0)
}

// execAgain executes itself; the second time it has an argument more.
func execAgain(p *program.Program) {
	second := p.Fresh()
	p.Alu(asm.Cmp, 8, asm.Ptr(asm.RSP, 0), asm.Imm(2))
	p.Jcc(asm.E, second)
	p.Sys(unix.SYS_EXECVE, "/"+programFile, p.Vector("/"+programFile, "again"), p.Vector())
	succeed(p)
	p.Label(second)
	p.Exit(0)
}

func manyTicks(p *program.Program) {
	p.Sys(unix.SYS_GETPID)
	p.Loop(asm.RBX, 200_000_000, func() {})
	p.Sys(unix.SYS_GETPID)
	p.Exit(0)
}

func remap(p *program.Program) {
	mmap(p, asm.RBX, fixed, 2*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1)
	p.Sys(unix.SYS_MREMAP, fixed, 2*4096, 4*4096, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, fixed+0x100000)
	succeed(p)
	p.Mov(8, asm.RBX, asm.RAX)
	touch(p, asm.RBX, 1, 3)
	p.Exit(0)
}

func shared(p *program.Program) {
	mmap(p, asm.RBX, fixed, 3*4096, rw, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	touch(p, asm.RBX, 0)
	forkAndWait(p, func() {
		look(p, asm.RBX, 0)
		touch(p, asm.RBX, 0, 1)
	})
	look(p, asm.RBX, 1)
	touch(p, asm.RBX, 0, 2)
	p.Exit(0)
}

// largeBatch changes every second page of many, in one system call: more
// entries than the queue holds, and none that continues another.
func largeBatch(p *program.Program) {
	const pages = 300
	mmap(p, asm.RBX, fixed, pages*4096, rw, private|unix.MAP_FIXED)
	p.Loop(asm.R13, pages/2, func() {
		p.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(1))
		p.Alu(asm.Add, 8, asm.RBX, asm.Imm(2*4096))
	})
	p.Sys(unix.SYS_MPROTECT, fixed, pages*4096, unix.PROT_READ)
	p.Exit(0)
}

// seed is the program of testdata/uml-7.2.strace in package trace.
func seed(p *program.Program) {
	mmap(p, asm.RBX, 0, 4*4096, rw, private)
	touch(p, asm.RBX, 0, 1, 2)
	p.Sys(unix.SYS_MUNMAP, asm.RBX, 4*4096)
	p.Sys(unix.SYS_WRITE, 1, program.Label("hello"), 6)
	p.Exit(0)
	p.Label("hello").Bytes([]byte("hello\n"))
}

func kernelReads(p *program.Program) {
	p.Sys(unix.SYS_WRITE, 1, "hello\n", 6)
	p.Exit(0)
}

// unlike is never the same twice: it calls with the time as its argument.
func unlike(p *program.Program) {
	p.Alu(asm.Sub, 8, asm.RSP, asm.Imm(16))
	p.Sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, asm.RSP)
	p.Sys(unix.SYS_DUP, asm.Ptr(asm.RSP, 8))
	p.Exit(0)
}
