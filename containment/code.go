package containment

import (
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// code is an offender's program while it is assembled.
type code struct {
	*asm.Assembler
	*protocol
	s     *stage
	o     *offender
	fresh int
}

func (c *code) label() string {
	c.fresh++
	return fmt.Sprintf(".%d", c.fresh)
}

var arguments = []asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}

func num[T ~int | ~int64 | ~uint64](v T) asm.Imm { return asm.Imm(v) }

// args loads a system call's arguments and number.
func (c *code) args(nr int64, args []asm.Operand) {
	for i, arg := range args {
		c.Mov(8, arguments[i], arg)
	}
	c.Mov(8, asm.RAX, asm.Imm(nr))
}

// call is a true system call, which its kernel answers.
func (c *code) call(nr int64, args ...asm.Operand) {
	c.args(nr, args)
	c.Syscall()
}

// attempt tells that what the case is about begins here.
func (c *code) attempt() { c.call(nrAttempt) }

// done ends the program.
func (c *code) done() {
	c.call(nrDone)
	c.Ud2()
}

// enter jumps at one of the stub's system call instructions with registers of
// its own. The other registers are such that the code behind the instruction
// faults at once in the stub of UML's protocol; the program goes on behind this,
// with the result in rax, as it would from a signal handler of its own.
func (c *code) enter(site string, nr int64, args ...asm.Operand) {
	back := c.label()
	c.args(nr, args)
	c.enterWith(site, back)
	c.Label(back)
}

func (c *code) enterWith(site, back string) {
	for _, r := range []asm.Reg{asm.RBX, asm.R12, asm.R13, asm.R14, asm.R15} {
		c.Mov(8, r, asm.Imm(0))
	}
	c.Mov(8, asm.RSP, asm.Imm(8))
	c.jumpAt(site, back)
}

// jumpAt jumps at a site. The program goes on at the label back when a fault or
// a trap stops it inside of the stub: stage's kernel finds it in rbp.
func (c *code) jumpAt(site, back string) {
	c.MovLabel(asm.RBP, back)
	c.Mov(8, asm.R11, asm.Imm(int64(c.at(site))))
	c.JmpTo(asm.R11)
}

func (c *code) at(site string) arch.Addr {
	a, ok := c.sites[site]
	if !ok {
		panic("BUG: case enters a site that it does not need: " + site)
	}
	return a
}

// pass enters a site of UML's protocol so that the code behind it finds nothing
// to do and returns, without any report: what it takes for the stub's data and
// the current entry lies in the program's own pages.
func (c *code) pass(site string, nr int64, args ...asm.Operand) {
	back := c.label()
	c.args(nr, args)
	c.Mov(8, asm.RBX, num(fakeAt))
	c.Mov(8, asm.R12, num(fakeAt+stubabi.OffEntries))
	for _, r := range []asm.Reg{asm.R13, asm.R14, asm.R15} {
		c.Mov(8, r, asm.Imm(0))
	}
	c.Mov(8, asm.RSP, num(stackTop))
	c.MovLabel(asm.R11, back)
	c.Mov(8, asm.Ptr(asm.RSP, 0), asm.R11)
	c.Mov(8, asm.Ptr(asm.RSP, 128), asm.R11) // the batch code takes its scratch area off
	c.jumpAt(site, back)
	c.Label(back)
}

// forge reports a system call that it never made, and waits until the monitor
// has handed the CPU back: from then on it takes this stub for one that runs its
// batch and its guest. There has to be a signal frame of a true call.
func (c *code) forge(nr int64) {
	c.sayCall(nr)
	c.flip()
	c.awaitTurn()
}

// sayCall writes a report about a system call that was never made, into the signal
// frame of a true one.
func (c *code) sayCall(nr int64) {
	c.frameInRBX()
	c.Mov(8, asm.Ptr(asm.RBX, offFrameRAX), asm.Imm(nr))
	c.say(unix.SIGSYS)
}

// say writes the signal that a report is about.
func (c *code) say(sig unix.Signal) {
	c.Mov(8, asm.RBX, num(c.signal))
	c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(int64(sig)))
	if c.sealed {
		c.Mov(8, asm.RBX, num(c.kind))
		c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(stubabi.ReportFresh))
	}
}

// offFrameRAX is rax in struct sigcontext (asm/sigcontext.h).
const offFrameRAX = 13 * 8

// frameInRBX makes rbx the address of the last signal frame's registers.
func (c *code) frameInRBX() {
	if c.sealed {
		c.Mov(8, asm.RBX, num(c.frame))
		return
	}
	c.Mov(8, asm.RBX, num(c.layout.Data))
	c.Movzx(2, asm.RAX, asm.Ptr(asm.RBX, stubabi.OffMCtxOffset))
	c.Mov(8, asm.RBX, num(c.stack))
	c.Alu(asm.Add, 8, asm.RBX, asm.RAX)
}

// flip sets the handshake word and wakes the monitor. The sealed stub's wake
// does not come back here; the monitor sees the word when it next looks.
func (c *code) flip() {
	c.Mov(8, asm.RBX, num(c.word))
	c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(int64(stubabi.InKern)))
	if c.sealed {
		return
	}
	c.pass(siteWake, unix.SYS_FUTEX, num(c.word), asm.Imm(1), asm.Imm(1))
}

// awaitTurn spins until the word says that the stub runs.
func (c *code) awaitTurn() {
	again := c.label()
	c.Mov(8, asm.RBX, num(c.word))
	c.Label(again)
	c.Pause()
	c.Alu(asm.Cmp, 4, asm.Ptr(asm.RBX, 0), asm.Imm(int64(stubabi.InChild)))
	c.Jcc(asm.NE, again)
}

// obtain gets hold of guest memory's descriptor, and leaves its number at
// resultAt. In UML's protocol it comes with a batch: the program has one sent
// by a forged report, and takes it instead of the stub.
func (c *code) obtain() {
	c.Mov(8, asm.RBX, num(resultAt))
	if c.fd >= 0 {
		c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(c.fd))
		return
	}
	again := c.label()
	c.Label(again)
	c.call(nrMore)
	c.forge(nrMore)
	c.receive()
	c.Alu(asm.Cmp, 4, asm.RCX, asm.Imm(1)) // a tick may have come in between
	c.Jcc(asm.NE, again)
}

// receive takes the descriptor of a batch that has been handed over; rcx is
// recvmsg's result.
func (c *code) receive() {
	c.enter(siteReceive, unix.SYS_RECVMSG, asm.Imm(0), num(messageAt), asm.Imm(0))
	c.Mov(8, asm.RCX, asm.RAX)
	c.Mov(8, asm.RBX, num(controlAt))
	c.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 16)) // behind the cmsghdr
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(4, asm.Ptr(asm.RBX, 0), asm.RAX)
}

// mmap enters the stub's mapping call with a frame of the program's choice.
// obtain comes first.
func (c *code) mmap(at arch.Addr, length int64, prot int64, frame uint64) {
	back := c.label()
	c.mmapArgs(at, length, prot, frame)
	c.enterWith(siteMmap, back)
	c.Label(back)
}

func (c *code) mmapArgs(at arch.Addr, length int64, prot int64, frame uint64) {
	c.Mov(8, asm.RBX, num(resultAt))
	c.args(unix.SYS_MMAP, []asm.Operand{num(at), asm.Imm(length), asm.Imm(prot),
		asm.Imm(c.flags), asm.RAX, asm.Imm(int64(frame * arch.PageSize))})
	c.Mov(4, asm.R8, asm.Ptr(asm.RBX, 0))
}

// peek reads eight bytes into a register and a page of its own, where the
// witness will see them.
func (c *code) peek(at arch.Addr) {
	c.Mov(8, asm.RBX, num(at))
	c.Mov(8, asm.RDI, asm.Ptr(asm.RBX, 0))
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(8, asm.Ptr(asm.RBX, 16), asm.RDI)
}

// poke writes eight bytes.
func (c *code) poke(at arch.Addr) {
	c.Mov(8, asm.RBX, num(at))
	c.Mov(8, asm.RAX, asm.Imm(0x6b636f6c6e755f21))
	c.Mov(8, asm.Ptr(asm.RBX, 0), asm.RAX)
}

const (
	protR  = unix.PROT_READ
	protRW = unix.PROT_READ | unix.PROT_WRITE
	protX  = unix.PROT_READ | unix.PROT_EXEC
)
