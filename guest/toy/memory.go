package toy

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

const pageSize = arch.PageSize

// mmap maps fresh private memory, more than there is if need be, and leaves its
// address in r.
func mmap(p *program.Program, r asm.Reg, size int) {
	p.Sys(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, -1, 0)
	p.Check("mmap")
	p.Mov(8, r, asm.RAX)
}

// faults leaves the number of the process's page faults so far in r.
func faults(p *program.Program, r asm.Reg) {
	p.Sys(unix.SYS_GETRUSAGE, unix.RUSAGE_SELF, program.Label("usage"))
	p.Check("getrusage")
	p.Lea(asm.RAX, asm.At("usage"))
	p.Mov(8, r, asm.Ptr(asm.RAX, usageMinflt))
}

// struct rusage of 64-bit Linux (linux/resource.h), in bytes.
const (
	usageSize   = 144
	usageMinflt = 64  // ru_minflt
	usageNivcsw = 136 // ru_nivcsw
)

// The mapping of paging, and which of its pages it touches.
const (
	pagingPages  = 16384
	pagingStride = 1024
	pagingTouch  = pagingPages / pagingStride
)

func paging(p *program.Program) {
	p.Reserve("usage", usageSize, 8)
	p.Reserve("resident", pagingPages, 8)
	// Counts the pages of the mapping at rbx that are in memory, in rax.
	p.Func("count", func() {
		p.Sys(unix.SYS_MINCORE, asm.RBX, pagingPages*pageSize, program.Label("resident"))
		p.Check("mincore")
		p.Lea(asm.RSI, asm.At("resident"))
		p.Mov(8, asm.RAX, asm.Imm(0))
		p.Loop(asm.RCX, pagingPages, func() {
			p.Movzx(1, asm.RDX, asm.Idx(asm.RSI, asm.RCX, 1, -1))
			p.Alu(asm.And, 8, asm.RDX, asm.Imm(1))
			p.Alu(asm.Add, 8, asm.RAX, asm.RDX)
		})
	})

	getpid(p, asm.R12)
	mmap(p, asm.RBX, pagingPages*pageSize)
	// One page at a time also where the host would give 2 MiB.
	p.Sys(unix.SYS_MADVISE, asm.RBX, pagingPages*pageSize, unix.MADV_NOHUGEPAGE)
	p.Call("count")
	must(p, asm.RAX, asm.E, asm.Imm(0), "no page should be in memory")
	p.Print("  process ", asm.R12, " maps 64 MiB: ", pagingPages, " pages, ", asm.RAX, " of them in memory\n")
	// Before it counts, so that the variable's own page is there.
	faults(p, asm.R14)
	faults(p, asm.R14)
	p.Mov(8, asm.RBP, asm.RBX)
	p.Loop(asm.R13, pagingTouch, func() {
		p.Mov(8, asm.Ptr(asm.RBP, 0), asm.R13)
		p.Alu(asm.Add, 8, asm.RBP, asm.Imm(pagingStride*pageSize))
	})
	faults(p, asm.R15)
	p.Alu(asm.Sub, 8, asm.R15, asm.R14)
	p.Call("count")
	must(p, asm.RAX, asm.E, asm.Imm(pagingTouch), "the touched pages should be in memory")
	p.Print("  it writes to ", pagingTouch, " of them, which takes ", asm.R15, " page faults; now ", asm.RAX, " are in memory\n")
}

// The memory of cow, and how much of it the child writes to.
const (
	cowPages = 64
	cowWrite = 4
)

func cow(p *program.Program) {
	p.Reserve("usage", usageSize, 8)
	// Adds up the first words of the pages at rbx, in rax.
	p.Func("sum", func() {
		p.Mov(8, asm.RAX, asm.Imm(0))
		p.Mov(8, asm.RSI, asm.RBX)
		p.Loop(asm.RCX, cowPages, func() {
			p.Alu(asm.Add, 8, asm.RAX, asm.Ptr(asm.RSI, 0))
			p.Alu(asm.Add, 8, asm.RSI, asm.Imm(pageSize))
		})
	})
	// Writes r14 into the first words of the first r13 pages.
	p.Func("fill", func() {
		p.Mov(8, asm.RSI, asm.RBX)
		p.Loop(asm.RCX, asm.R13, func() {
			p.Mov(8, asm.Ptr(asm.RSI, 0), asm.R14)
			p.Alu(asm.Add, 8, asm.RSI, asm.Imm(pageSize))
		})
	})

	getpid(p, asm.R12)
	mmap(p, asm.RBX, cowPages*pageSize)
	p.Mov(8, asm.R13, asm.Imm(cowPages))
	p.Mov(8, asm.R14, asm.Imm(1))
	p.Call("fill")
	p.Call("sum")
	p.Print("  process ", asm.R12, " writes 1 into ", cowPages, " pages (the sum is ", asm.RAX, ") and forks\n")
	p.Fork(func() {
		getpid(p, asm.R12)
		p.Call("sum")
		must(p, asm.RAX, asm.E, asm.Imm(cowPages), "the child should see the sum that its parent saw")
		p.Print("  process ", asm.R12, " sees the same pages: the sum is ", asm.RAX, "\n")
		faults(p, asm.RBP)
		faults(p, asm.RBP)
		p.Mov(8, asm.R13, asm.Imm(cowWrite))
		p.Mov(8, asm.R14, asm.Imm(100))
		p.Call("fill")
		faults(p, asm.R15)
		p.Alu(asm.Sub, 8, asm.R15, asm.RBP)
		p.Call("sum")
		must(p, asm.RAX, asm.E, asm.Imm(cowPages-cowWrite+cowWrite*100), "the child should see what it wrote")
		p.Print("  it writes 100 into ", cowWrite, " of them, which takes ", asm.R15, " page faults: the sum is ", asm.RAX, "\n")
	})
	p.Wait(asm.RAX)
	must(p, asm.RAX, asm.E, asm.Imm(0), "the child should have succeeded")
	p.Call("sum")
	must(p, asm.RAX, asm.E, asm.Imm(cowPages), "the parent's pages should be as they were")
	p.Print("  process ", asm.R12, " sees nothing of that: the sum is ", asm.RAX, "\n")
}

// struct sigaction as the kernel takes it, its flags (asm/signal.h), and the
// place of si_addr in siginfo_t (asm-generic/siginfo.h).
const (
	actionSize     = 32
	actionFlags    = 8
	actionRestorer = 16
	saSiginfo      = 0x4
	saRestorer     = 0x04000000
	infoAddr       = 16
)

func fault(p *program.Program) {
	action := p.Reserve("action", actionSize, 8)
	page := p.Word("page")
	p.Func("handler", func() { // rdi: signal, rsi: siginfo
		p.Mov(8, asm.R12, asm.RDI)
		p.Mov(8, asm.RBX, asm.Ptr(asm.RSI, infoAddr))
		must(p, asm.RBX, asm.E, page, "the fault should be where the page was")
		p.Print("  signal ", asm.R12, ", SIGSEGV, calls its handler with the address;\n"+
			"  the handler maps a new page there and returns\n")
		p.Sys(unix.SYS_MMAP, asm.RBX, pageSize, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, -1, 0)
		p.Check("mmap")
	})
	p.Func("restorer", func() { p.Sys(unix.SYS_RT_SIGRETURN) })

	p.Load(asm.RBX, action)
	p.Load(asm.RAX, program.Label("handler"))
	p.Mov(8, asm.Ptr(asm.RBX, 0), asm.RAX)
	p.Mov(8, asm.RAX, asm.Imm(saSiginfo|saRestorer))
	p.Mov(8, asm.Ptr(asm.RBX, actionFlags), asm.RAX)
	p.Load(asm.RAX, program.Label("restorer"))
	p.Mov(8, asm.Ptr(asm.RBX, actionRestorer), asm.RAX)
	p.Sys(unix.SYS_RT_SIGACTION, unix.SIGSEGV, asm.RBX, 0, 8)
	p.Check("rt_sigaction")

	getpid(p, asm.R12)
	mmap(p, asm.RBX, pageSize)
	p.Mov(8, page, asm.RBX)
	p.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(42))
	p.Mov(8, asm.R13, asm.Ptr(asm.RBX, 0))
	p.Print("  process ", asm.R12, " maps a page, writes ", asm.R13, ", unmaps the page, and reads it\n")
	p.Sys(unix.SYS_MUNMAP, asm.RBX, pageSize)
	p.Check("munmap")
	p.Mov(8, asm.R13, asm.Ptr(asm.RBX, 0))
	must(p, asm.R13, asm.E, asm.Imm(0), "a new page should hold zeroes")
	p.Print("  the same instruction runs again and reads ", asm.R13, "\n")
}
