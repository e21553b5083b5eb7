package containment

import (
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// Numbers of the 32-bit call table (asm/unistd_32.h).
const sys32Getpid = 20

// vsyscallTime is the entry for time(2) in the vsyscall page (asm/vsyscall.h),
// 0xffffffffff600400.
const vsyscallTime = -0xa00000 + 0x400

// callCases use the other ways to make a system call. Each asks for the
// stub's pid, which is nowhere in guest memory: a register that holds it shows
// that the host has answered.
func callCases() []Case {
	getpid := func(nr int64, insn ...byte) func(c *code) {
		return func(c *code) {
			c.attempt()
			c.Mov(8, asm.RAX, asm.Imm(nr))
			c.Mov(8, asm.RBP, asm.RSP) // sysenter's stack
			c.Bytes(insn)
			c.Mov(8, asm.RDI, asm.RAX)
			c.call(nrOwn, asm.RDI)
			c.done()
		}
	}
	pid := func(s *stage, o *offender) { o.s.secrets[uint64(o.mm.PID())] = "the host's answer to a system call" }
	refuse := func(s *stage, o *offender, ev *skas.Event) { s.arch.SetResult(&o.regs, -int64(unix.ENOSYS)) }
	return []Case{
		{
			Name: "syscall-host", Promise: "P1", Want: everywhere(Denied),
			About:   "makes a system call of the host's by the usual instruction",
			prepare: pid, serve: refuse, emit: getpid(unix.SYS_GETPID, 0x0f, 0x05),
		},
		{
			Name: "int80", Promise: "P1", Want: everywhere(Denied),
			About:   "makes a 32-bit system call by int 0x80",
			prepare: pid, serve: refuse, emit: getpid(sys32Getpid, 0xcd, 0x80),
		},
		{
			Name: "sysenter", Promise: "P1", Want: everywhere(Denied),
			About:   "makes a system call by sysenter",
			prepare: pid, serve: refuse, emit: getpid(sys32Getpid, 0x0f, 0x34),
		},
		{
			Name: "segment32", Promise: "P1", Want: everywhere(Denied),
			About:   "goes to a 32-bit code segment and makes system calls there, by int 0x80 and by syscall",
			prepare: pid, serve: refuse,
			emit: func(c *code) {
				c.attempt()
				c.Mov(8, asm.RSP, num(stackTop))
				c.Mov(8, asm.RAX, asm.Imm(user32CS))
				c.Push(asm.RAX)
				c.MovLabel(asm.RAX, "narrow")
				c.Push(asm.RAX)
				c.Bytes([]byte{0x48, 0xcb}) // lretq
				c.Label("narrow")
				for _, insn := range [][]byte{{0xcd, 0x80}, {0x0f, 0x05}} {
					c.Bytes([]byte{0xb8, sys32Getpid, 0, 0, 0}) // mov eax, getpid
					c.Bytes(insn)
					c.Bytes([]byte{0x89, 0xc7}) // mov edi, eax
					c.Bytes([]byte{0xb8, nrOwn & 0xff, nrOwn >> 8, 0, 0})
					c.Bytes([]byte{0xcd, 0x80})
				}
				c.Ud2()
			},
		},
		{
			Name: "vsyscall", Promise: "P1", Want: everywhere(Denied),
			About: "calls into the vsyscall page, which the host kernel emulates",
			prepare: func(s *stage, o *offender) {
				var now unix.Timespec
				_ = unix.ClockGettime(unix.CLOCK_REALTIME, &now) // cannot fail
				for i := range int64(600) {
					s.secrets[uint64(now.Sec+i)] = "the host's answer to a system call"
				}
			},
			serve: refuse,
			emit: func(c *code) {
				c.attempt()
				c.Mov(8, asm.RDI, asm.Imm(0))
				c.Mov(8, asm.RSP, num(stackTop))
				c.Mov(8, asm.RAX, asm.Imm(vsyscallTime))
				c.CallTo(asm.RAX)
				c.Mov(8, asm.RDI, asm.RAX)
				c.call(nrOwn, asm.RDI)
				c.done()
			},
		},
		{
			Name: "other-call-in-stub", Promise: "P1", Want: Want{Killed, Killed, Killed, Killed},
			About:   "enters the stub's system call instruction with getpid",
			prepare: pid, needs: []string{siteWake},
			emit: func(c *code) {
				c.attempt()
				c.enter(siteWake, unix.SYS_GETPID)
				c.Mov(8, asm.RDI, asm.RAX)
				c.call(nrOwn, asm.RDI)
				c.done()
			},
		},
		{
			Name: "x32-in-stub", Promise: "P1", Want: Want{Killed, Killed, Killed, Killed},
			About:   "enters the stub's system call instruction with a number of the x32 table",
			prepare: pid, needs: []string{siteWake},
			emit: func(c *code) {
				c.attempt()
				c.enter(siteWake, 0x40000000|unix.SYS_FUTEX, num(c.word), asm.Imm(1), asm.Imm(1))
				c.done()
			},
		},
		unfiltered("uretprobe-in-stub", sysUretprobe),
		unfiltered("uprobe-in-stub", sysUprobe),
	}
}

// The calls that no filter is asked about (asm/unistd_64.h; kernel/seccomp.c of
// Linux 6.14 and 6.18). Without a probe they do nothing: the first raises SIGILL, the second
// returns ENXIO.
const (
	sysUretprobe = 335
	sysUprobe    = 336
)

func unfiltered(name string, nr int64) Case {
	return Case{
		Name: name, Promise: "P1", Want: Want{Contained, Contained, Contained, Killed},
		About: fmt.Sprintf("enters the stub's mmap with call %d, which newer hosts let pass every filter", nr),
		needs: []string{siteMmap},
		emit: func(c *code) {
			c.attempt()
			c.enter(siteMmap, nr, num(moreAt), asm.Imm(arch.PageSize), asm.Imm(protRW), asm.Imm(1), asm.Imm(0), asm.Imm(0))
			c.done()
		},
	}
}

// user32CS is the 32-bit code segment that Linux offers every process
// (asm/segment.h: __USER32_CS).
const user32CS = 0x23
