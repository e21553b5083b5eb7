package realuml

import (
	"fmt"

	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// visiblePrograms print lines of "name: value". What they print has to be the
// same wherever memory lies and whoever runs them.
var visiblePrograms = []struct {
	name  string
	build func(p *program.Program)
}{
	{"results of system calls", callResults},
	{"faults", faults},
	{"memory", memory},
	{"traps", traps},
	{"single step", singleStep},
	{"registers over system calls", registersOverCalls},
	{"registers over ticks", registersOverTicks},
	{"bases", visibleBases},
	{"bases that cannot be", badBases},
	{"signal frames", signalFrames},
	{"fork and wait", forkAndStatuses},
}

// result prints what a system call has returned.
func result(p *program.Program, name string) {
	good, end := p.Fresh(), p.Fresh()
	p.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(-4095))
	p.Jcc(asm.B, good)
	p.Neg(8, asm.RAX)
	p.Print(name+": error ", asm.RAX, "\n")
	p.Jmp(end)
	p.Label(good)
	p.Print(name+": ", asm.RAX, "\n")
	p.Label(end)
}

// try makes a system call and prints its result.
func try(p *program.Program, name string, nr int, args ...any) {
	p.Sys(nr, args...)
	result(p, name)
}

const nowhere = 0x1000 // an address at which nothing is mapped

// memory has what fuzzed programs leave out.
func memory(p *program.Program) {
	report(p, unix.SIGSEGV, unix.SIGBUS)
	mmap(p, asm.RBX, fixed, 4096, rw, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	touch(p, asm.RBX, 0)
	try(p, "shared memory grows", unix.SYS_MREMAP, fixed, 4096, 8192, 0, 0)
	provoke(p, "read behind the end of shared memory", func() { look(p, asm.RBX, 1) })

	p.Print("holes: " + section + "\n")
	mmap(p, asm.RBX, fixed, 3*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1, 2)
	p.Sys(unix.SYS_MUNMAP, fixed+4096, 4096)
	try(p, "madvise over a hole", unix.SYS_MADVISE, fixed, 3*4096, unix.MADV_DONTNEED)
	for _, n := range []int32{0, 2} {
		p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, n*4096))
		p.Print(fmt.Sprintf("page %d after that: ", n), asm.RAX, "\n")
	}
	mmap(p, asm.R13, fixed+3*4096, 4096, rw|unix.PROT_EXEC, private|unix.MAP_FIXED) // a mapping of its own
	touch(p, asm.RBX, 0, 2, 3)
	try(p, "madvise that begins in a hole", unix.SYS_MADVISE, fixed+4096, 3*4096, unix.MADV_DONTNEED)
	for _, n := range []int32{2, 3} {
		p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, n*4096))
		p.Print(fmt.Sprintf("page %d after the second: ", n), asm.RAX, "\n")
	}
	touch(p, asm.RBX, 0, 2)
	try(p, "madvise that ends in a hole", unix.SYS_MADVISE, fixed, 2*4096, unix.MADV_DONTNEED)
	p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 0))
	p.Print("page 0 after the third: ", asm.RAX, "\n")
	p.Print("mprotect: " + section + "\n")
	try(p, "mprotect over a hole", unix.SYS_MPROTECT, fixed, 3*4096, unix.PROT_READ)
	provoke(p, "write before the hole after that", func() { touch(p, asm.RBX, 0) })
	provoke(p, "write behind the hole after that", func() { touch(p, asm.RBX, 2) })
	try(p, "munmap over a hole", unix.SYS_MUNMAP, fixed, 3*4096)
}

func visibleBases(p *program.Program) {
	const (
		setGS, setFS = 0x1001, 0x1002
		getFS, getGS = 0x1003, 0x1004
	)
	mmap(p, asm.RBX, fixed, 4096, rw, private|unix.MAP_FIXED)
	p.Mov(8, asm.Ptr(asm.RBX, 16), asm.Imm(1616))
	p.Mov(8, asm.Ptr(asm.RBX, 32), asm.Imm(3232))
	value := p.Word("value")
	for _, b := range []struct {
		name     string
		set, get int
		prefix   byte
		write    []byte // wrfsbase rax, wrgsbase rax
		read     []byte // rdfsbase rax, rdgsbase rax
	}{
		{"fs", setFS, getFS, 0x64, []byte{0xf3, 0x48, 0x0f, 0xae, 0xd0}, []byte{0xf3, 0x48, 0x0f, 0xae, 0xc0}},
		{"gs", setGS, getGS, 0x65, []byte{0xf3, 0x48, 0x0f, 0xae, 0xd8}, []byte{0xf3, 0x48, 0x0f, 0xae, 0xc8}},
	} {
		word := func(when string) {
			p.Bytes([]byte{b.prefix, 0x48, 0x8b, 0x04, 0x25, 16, 0, 0, 0}) // mov rax, seg:[16]
			p.Print(b.name+" word "+when+": ", asm.RAX, "\n")
		}
		get := func(what string) {
			p.Sys(unix.SYS_ARCH_PRCTL, b.get, program.Label("value"))
			result(p, b.name+" get "+what)
			p.Print(b.name+" "+what+": ", value, "\n")
		}
		get("at the start")
		try(p, b.name+" set", unix.SYS_ARCH_PRCTL, b.set, fixed)
		get("after set")
		word("after set")
		p.Loop(asm.R12, 100_000_000, func() {})
		get("after ticks")
		word("after ticks")
		if !fsgsbase() {
			continue
		}
		p.Mov(8, asm.RAX, asm.Imm(fixed+16))
		p.Bytes(b.write)
		p.Sys(unix.SYS_GETPID)
		p.Bytes(b.read)
		p.Print(b.name+" after writing it: ", asm.RAX, "\n")
		get("after writing it")
		word("after writing it")
		p.Loop(asm.R12, 100_000_000, func() {})
		word("after writing it and ticks")
	}
}

// fsgsbase says that the host's kernel keeps the bases that programs write by
// themselves (HWCAP2_FSGSBASE of asm/hwcap2.h). On one that does not the
// instructions may work, and what they wrote is lost at the next switch of tasks.
func fsgsbase() bool {
	const atHWCAP2, hwcap2FSGSBASE = 26, 2
	auxv, err := unix.Auxv()
	if err != nil {
		panic(err)
	}
	for _, a := range auxv {
		if a[0] == atHWCAP2 {
			return a[1]&hwcap2FSGSBASE != 0
		}
	}
	return false
}

func badBases(p *program.Program) {
	try(p, "fs", unix.SYS_ARCH_PRCTL, 0x1002, -0x1000)
	try(p, "gs", unix.SYS_ARCH_PRCTL, 0x1001, -0x1000)
}

func forkAndStatuses(p *program.Program) {
	mmap(p, asm.RBX, fixed, 3*4096, rw, private|unix.MAP_FIXED)
	touch(p, asm.RBX, 0, 1)
	wait := func(name string, child func()) {
		p.Fork(child)
		p.Wait(asm.RAX)
		p.Print(name+": ", asm.RAX, "\n")
	}
	words := func(name string) {
		for i := range int32(3) {
			p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, i*4096))
			p.Print(fmt.Sprintf("%s, page %d: ", name, i), asm.RAX, "\n")
		}
	}
	wait("exit", func() { p.Exit(0) })
	wait("exit 300", func() { p.Exit(300) })
	wait("child writes", func() {
		words("child before")
		p.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(77))
		p.Mov(4, asm.Ptr(asm.RBX, 2*4096), asm.Imm(78))
		words("child after")
	})
	words("parent after")
	for _, s := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGUSR1, unix.SIGALRM, unix.SIGPIPE} {
		wait(fmt.Sprintf("child killed by %v", s), func() {
			p.Sys(unix.SYS_GETPID)
			p.Sys(unix.SYS_KILL, asm.RAX, int(s))
			p.Exit(1)
		})
	}
	wait("child that ignores a signal", func() {
		p.Sys(unix.SYS_GETPID)
		p.Sys(unix.SYS_KILL, asm.RAX, int(unix.SIGCHLD))
		p.Exit(2)
	})
	wait("child that faults", func() {
		p.Mov(8, asm.RBX, asm.Imm(nowhere))
		p.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 0))
	})
	wait("child that divides", func() {
		p.Alu(asm.Xor, 4, asm.RCX, asm.RCX)
		p.Div(8, asm.RCX)
	})
	wait("child without an instruction", p.Ud2)
	wait("child at a breakpoint", p.Int3)
	wait("grandchild", func() {
		p.Fork(func() { p.Exit(5) })
		p.Wait(asm.RAX)
		p.Print("grandchild's status: ", asm.RAX, "\n")
		p.Exit(6)
	})
	try(p, "wait again", unix.SYS_WAIT4, -1, 0, 0, 0)
}
