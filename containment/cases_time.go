package containment

import (
	"encoding/binary"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/physmem"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// The two pages at frameAt hold one crafted signal frame.
const frameTop = frameAt + 2*arch.PageSize

// offUContextR8 is where r8 lies behind the start of the ucontext.
const offUContextR8 = 40

// craft builds a signal frame of the program's own, as if a signal had come at
// the label with that mask and signal stack, and keeps where it lies at
// resultAt+8.
func (o *offender) craft(label string, mask uint64, stack arch.Addr, size uint64) {
	var r arch.Regs
	o.s.arch.Start(&r, o.labels[label], frameTop)
	*amd64.Register(&r, asm.RBP) = uint64(o.labels[label])
	o.craftRegs(&r, mask, stack, size)
}

func (o *offender) craftRegs(r *arch.Regs, mask uint64, stack arch.Addr, size uint64) {
	frame, at := o.s.arch.PushSignal(r, &arch.Signal{Mask: mask, AltBase: stack, AltSize: size})
	o.write(at, frame)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(at)+8) // as behind the handler's ret
	o.write(resultAt+8, b[:])
}

// sigreturn enters the stub's rt_sigreturn with the crafted frame. It goes on
// where the frame says, or right here if the call comes back.
func (c *code) sigreturn() {
	back := c.label()
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(8, asm.RSP, asm.Ptr(asm.RBX, 8))
	c.Mov(8, asm.RAX, asm.Imm(unix.SYS_RT_SIGRETURN))
	c.jumpAt(siteSigreturn, back)
	c.Label(back)
	c.done()
}

func bit(s unix.Signal) uint64 { return 1 << (s - 1) }

// timeCases try to keep the CPU, or to hold up the monitor.
func timeCases() []Case {
	spin := func(c *code) {
		c.Label("spin")
		c.Jmp("spin")
	}
	blockAlarm := func(s *stage, o *offender) {
		o.craft("after", bit(unix.SIGALRM), s.proto.stack-arch.PageSize, uint64(s.proto.stackSize)+arch.PageSize)
	}
	hangs := Want{Breached, Killed, Killed, Killed}
	return []Case{
		{
			Name: "spin", Promise: "P3", Want: everywhere(Denied), hz: 100, events: 20,
			About: "computes for ever",
			emit:  func(c *code) { c.attempt(); spin(c) },
		},
		{
			Name: "block-tick-spin", Promise: "P3", Want: hangs, hz: 100,
			About: "blocks SIGALRM by a crafted rt_sigreturn and computes for ever",
			needs: []string{siteSigreturn}, prepare: blockAlarm,
			emit: func(c *code) {
				c.attempt()
				c.sigreturn()
				c.Label("after")
				spin(c)
			},
		},
		{
			Name: "block-tick-sleep", Promise: "P3", Want: hangs, hz: 100,
			About: "blocks SIGALRM by a crafted rt_sigreturn and sleeps for ever in the stub's futex call",
			needs: []string{siteSigreturn, siteWait}, prepare: blockAlarm,
			emit: func(c *code) {
				c.attempt()
				c.sigreturn()
				c.Label("after")
				// On a word of its own, which nobody wakes.
				c.pass(siteWait, unix.SYS_FUTEX, num(resultAt+0x40), asm.Imm(0), asm.Imm(0), asm.Imm(0))
				c.Jmp("after")
			},
		},
		{
			Name: "block-tick-call", Promise: "P3", Want: hangs, hz: 100,
			About: "blocks SIGALRM by a crafted rt_sigreturn and makes one good unmapping call after the other, which the monitor is asked for",
			needs: []string{siteSigreturn, siteMunmap}, prepare: blockAlarm,
			emit: func(c *code) {
				c.attempt()
				c.sigreturn()
				c.Label("after")
				c.pass(siteMunmap, unix.SYS_MUNMAP, num(holeAt), asm.Imm(arch.PageSize))
				c.Jmp("after")
			},
		},
		{
			Name: "suspend", Promise: "P2", Want: Want{Denied, Denied, Denied, Killed}, hz: 100, events: 20,
			About: "makes one good unmapping call after the other and never reports by itself",
			needs: []string{siteMunmap},
			emit: func(c *code) {
				c.attempt()
				c.Label("after")
				c.pass(siteMunmap, unix.SYS_MUNMAP, num(holeAt), asm.Imm(arch.PageSize))
				c.Jmp("after")
			},
		},
		{
			Name: "wake-loop", Promise: "P3", Want: Want{Denied, Denied, Denied, Contained}, hz: 100, events: 20,
			About: "wakes the monitor in a loop, with nothing to report",
			needs: []string{siteWake},
			emit: func(c *code) {
				c.attempt()
				c.Label("after")
				c.pass(siteWake, unix.SYS_FUTEX, num(c.word), asm.Imm(1), asm.Imm(1))
				c.Jmp("after")
			},
		},
		{
			Name: "report-loop", Promise: "P3", Want: everywhere(Contained), hz: 100, events: 200,
			About: "reports all the time, so that no tick is ever due when it runs",
			emit: func(c *code) {
				c.attempt()
				c.call(nrOwn)
				c.Label("after")
				c.forge(nrOwn)
				c.Jmp("after")
			},
		},
		{
			Name: "flip-and-sleep", Promise: "P2", Want: Want{Denied, Denied, Denied, Contained}, hz: 100, events: 20,
			About: "sleeps in the stub's futex call, on a word of its own",
			needs: []string{siteWait},
			emit: func(c *code) {
				c.attempt()
				c.Label("after")
				c.pass(siteWait, unix.SYS_FUTEX, num(resultAt+0x40), asm.Imm(0), asm.Imm(0), asm.Imm(0))
				c.Jmp("after")
			},
		},
		{
			Name: "sleep-in-flush", Promise: "P2", Want: Want{Breached, Killed, Killed, Contained},
			About: "reports a call that it never made and sleeps in the stub's futex call, while the monitor waits for it to run a batch alone",
			needs: []string{siteWait},
			emit: func(c *code) {
				c.attempt()
				c.call(nrOwn)
				c.forge(nrOwn)
				c.Label("after")
				c.pass(siteWait, unix.SYS_FUTEX, num(resultAt+0x40), asm.Imm(0), asm.Imm(0), asm.Imm(0))
				c.Jmp("after")
			},
			serve: func(s *stage, o *offender, ev *skas.Event) {
				if _, err := o.grant(o.more, arch.Read); err != nil {
					panic("BUG: " + err.Error())
				}
				o.more += arch.PageSize
				_ = o.mm.Flush() // the next run says what became of the stub
			},
		},
		{
			Name: "move-stack", Promise: "P1", Want: Want{Killed, Killed, Killed, Killed},
			About: "moves the signal stack into its own memory by a crafted rt_sigreturn",
			needs: []string{siteSigreturn},
			prepare: func(s *stage, o *offender) {
				o.craft("after", 0, moreAt, 2*arch.PageSize)
				for i := range 2 {
					if _, err := o.grant(moreAt+arch.Addr(i*arch.PageSize), arch.Read|arch.Write); err != nil {
						panic("BUG: " + err.Error())
					}
				}
			},
			emit: func(c *code) {
				for i := range arch.Addr(2) {
					c.poke(moreAt + i*arch.PageSize) // mapped
				}
				c.attempt()
				c.sigreturn()
				c.Label("after")
				c.call(nrOwn)
				c.done()
			},
		},
		{
			Name: "forged-frame", Promise: "P1", Want: Want{Breached, Breached, Killed, Killed},
			About: "moves the signal stack by a crafted rt_sigreturn that goes on in the stub's mmap, which maps a frame of another process exactly there, with the trap flag set: the host writes the next signal frame into it",
			Note:  "the kernel writes before any check in the stub can run: that is why the sealed stub has no rt_sigreturn.",
			needs: []string{siteSigreturn, siteMmap},
			prepare: func(s *stage, o *offender) {
				frame := s.victim.secretFrame()
				o.craftMap(holeAt, arch.PageSize, frame, holeAt, amd64.TrapFlag)
			},
			emit: forgedFrame,
		},
		{
			Name: "forged-frame-tick", Promise: "P1", Want: Want{Breached, Breached, Killed, Killed}, hz: 1000, memory: longMemory,
			About: "the same without the trap flag: it maps so much that a tick comes before the call is done",
			Note:  "as above.",
			needs: []string{siteSigreturn, siteMmap},
			prepare: func(s *stage, o *offender) {
				o.craftMap(longAt, longMemory, 0, longAt+arch.Addr(s.victim.secretFrame())*arch.PageSize, 0)
			},
			emit: forgedFrame,
			play: playUntilSeen,
		},
	}
}

// craftMap builds a signal frame that goes on in the stub's mmap, with a mapping
// of some frames for writing.
func (o *offender) craftMap(at arch.Addr, length int64, first physmem.PFN, stack arch.Addr, flags uint64) {
	s := o.s
	var r arch.Regs
	s.arch.Start(&r, s.proto.sites[siteMmap], frameTop)
	*amd64.Flags(&r) |= flags
	for reg, v := range map[asm.Reg]uint64{
		asm.RAX: unix.SYS_MMAP, asm.RDI: uint64(at), asm.RSI: uint64(length), asm.RDX: protRW,
		asm.R10: uint64(s.proto.flags | unix.MAP_POPULATE), asm.R9: uint64(first) * arch.PageSize,
	} {
		*amd64.Register(&r, reg) = v
	}
	o.craftRegs(&r, 0, stack, arch.PageSize)
}

// forgedFrame goes where a crafted frame says, with the descriptor of guest
// memory in r8.
func forgedFrame(c *code) {
	c.obtain()
	c.attempt()
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(4, asm.RAX, asm.Ptr(asm.RBX, 0))
	c.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 8))
	c.Mov(8, asm.Ptr(asm.RBX, offUContextR8), asm.RAX)
	c.sigreturn()
}
