package containment

import (
	"bytes"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// trapCases have a signal come between the sealed stub's mapping call and the
// check behind it, with the stack pointer where it decides which frame the
// handler looks at.
func trapCases() []Case {
	want := Want{Skipped, Skipped, Skipped, Killed}
	needs := []string{siteCheck}
	foreign := func(c *code) []asm.Operand {
		return c.sealedMap(holeAt, arch.PageSize, protR, num(c.s.victim.secretFrame()*arch.PageSize))
	}
	everything := func(c *code) []asm.Operand { return c.sealedMap(longAt, longMemory, protR, asm.Imm(0)) }
	// hijack makes the call and, if the stub lets it come back, uses it.
	hijack := func(args func(c *code) []asm.Operand, enter, use func(c *code)) func(c *code) {
		return func(c *code) {
			c.attempt()
			c.ifTried("mapped")
			c.tried()
			c.args(unix.SYS_MMAP, args(c))
			enter(c)
			c.Label("mapped")
			use(c)
			c.done()
		}
	}
	useLong := func(c *code) { c.peek(longAt + arch.Addr(c.s.victim.secretFrame())*arch.PageSize) }
	return []Case{
		{
			Name: "map-under-stack", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap with a frame of another process, and the stack pointer in it",
			needs: []string{siteMmap},
			emit: func(c *code) {
				back := c.label()
				c.obtain()
				c.attempt()
				c.mmapArgs(holeAt, arch.PageSize, protRW, uint64(c.s.victim.secretFrame()))
				for _, r := range []asm.Reg{asm.RBX, asm.R12, asm.R13, asm.R14, asm.R15} {
					c.Mov(8, r, asm.Imm(0))
				}
				c.Mov(8, asm.RSP, num(holeAt+arch.PageSize/2))
				c.jumpAt(siteMmap, back)
				c.Label(back)
				c.peek(holeAt)
				c.done()
			},
		},
		{
			Name: "trap-on-stack", Promise: "P1", Want: want, needs: needs,
			About: "single-steps over the stub's mmap with its stack pointer on the signal stack, where the frame of a good call lies",
			emit: hijack(foreign, func(c *code) {
				c.Mov(8, asm.R12, num(c.frame))
				c.Alu(asm.Or, 4, asm.Ptr(asm.R12, offFrameFlags), asm.Imm(amd64.TrapFlag)) // its kernel goes on for a single step
				c.iretTo(siteMmap, c.stubSP, amd64.TrapFlag)
			}, func(c *code) { c.peek(holeAt) }),
		},
		{
			Name: "trap-behind-forgery", Promise: "P1", Want: want, needs: needs,
			About: "reports a call that it never made, and single-steps over the stub's mmap while the monitor is busy with that",
			emit: func(c *code) {
				c.attempt()
				c.call(nrOwn)
				c.ifTried("mapped")
				c.sayCall(nrOwn)
				c.tried()
				c.untilSeen()
				c.args(unix.SYS_MMAP, foreign(c))
				c.iretTo(siteMmap, stackTop, amd64.TrapFlag)
				c.Label("mapped")
				c.peek(holeAt)
				c.done()
			},
			serve: func(s *stage, o *offender, ev *skas.Event) {
				if o.calls++; o.calls == 1 {
					o.more += 2 * arch.PageSize
					if _, err := o.grant(o.more, arch.Read); err != nil { // for a batch that is seen to go
						panic("BUG: " + err.Error())
					}
					return
				}
				for look := 0; look < 10; look++ { // a kernel that takes its time
					time.Sleep(10 * time.Millisecond)
					if asleep(o.mm.PID()) {
						return
					}
				}
			},
		},
		{
			Name: "tick-behind-map", Promise: "P1", Want: want, needs: needs, hz: 1000, memory: longMemory, play: playUntilSeen,
			About: "enters the stub's mmap with so much that a tick comes before the call is done, and its stack pointer where the stub's is",
			emit: hijack(everything, func(c *code) {
				c.Mov(8, asm.RSP, num(c.stubSP))
				c.Mov(8, asm.RBX, asm.Imm(0))
				c.jumpAt(siteMmap, "mapped")
			}, useLong),
		},
		{
			Name: "tick-elsewhere", Promise: "P1", Want: want, needs: needs, hz: 1000, memory: longMemory, play: playUntilSeen,
			About: "the same with its stack pointer elsewhere on the signal stack, and a frame of its own where the stub would look for one",
			emit: hijack(everything, func(c *code) {
				c.Mov(8, asm.R12, num(c.nested[0]+c.frame-c.stubSP))
				c.Mov(8, asm.R11, num(c.layout.Code+c.code["resume"]))
				c.Mov(8, asm.Ptr(asm.R12, offFrameRIP), asm.R11)
				c.Mov(8, asm.RSP, num(c.stack+arch.Addr(c.stackSize/2)))
				c.Mov(8, asm.RBX, asm.Imm(0))
				c.jumpAt(siteMmap, "mapped")
			}, useLong),
		},
		spinOnStack("spin-on-stack", "computes for ever with its stack pointer where the stub's is", want,
			func(p *protocol) arch.Addr { return p.stubSP }),
		spinOnStack("spin-below-stack", "the same where the stub's is while it handles a tick", want,
			func(p *protocol) arch.Addr { return p.nested[0] }),
	}
}

func spinOnStack(name, about string, want Want, sp func(p *protocol) arch.Addr) Case {
	return Case{
		Name: name, Promise: "P3", Want: want, About: about, needs: []string{siteCheck}, hz: 100, events: 20,
		emit: func(c *code) {
			c.attempt()
			c.Mov(8, asm.RSP, num(sp(c.protocol)))
			c.Label("spin")
			c.Jmp("spin")
		},
	}
}

// sealedMap are the arguments of a sealed stub's mmap.
func (c *code) sealedMap(at arch.Addr, length, prot int64, offset asm.Imm) []asm.Operand {
	return []asm.Operand{num(at), asm.Imm(length), asm.Imm(prot), asm.Imm(c.flags), asm.Imm(c.fd), offset}
}

// rip and the flags in struct sigcontext (asm/sigcontext.h).
const (
	offFrameRIP   = 16 * 8
	offFrameFlags = 17 * 8
)

// Where iretTo builds what iretq takes.
const iretAt = resultAt + 0x80

// iretTo enters a site by iretq, which sets the flags together with the
// instruction pointer. r11 and r12 are lost.
func (c *code) iretTo(site string, sp arch.Addr, flags int64) {
	c.Mov(8, asm.R12, num(iretAt))
	for i, v := range []asm.Imm{num(c.at(site)), userCS, asm.Imm(flags | 0x202), num(sp), userSS} {
		c.Mov(8, asm.R11, v)
		c.Mov(8, asm.Ptr(asm.R12, int32(8*i)), asm.R11)
	}
	c.Mov(8, asm.RSP, asm.R12)
	c.Iretq()
}

// The 64-bit segments that Linux gives every process (asm/segment.h: __USER_CS
// and __USER_DS).
const (
	userCS = 0x33
	userSS = 0x2b
)

// untilSeen flips the word and waits until the monitor has taken the report: it
// retracts the live batch, and then reads.
func (c *code) untilSeen() {
	again, read := c.label(), c.label()
	c.Mov(8, asm.R12, num(c.layout.Control))
	c.Mov(4, asm.R13, asm.Ptr(asm.R12, 0)) // the batch's number comes first
	c.flip()
	c.Label(again)
	c.Pause()
	c.Alu(asm.Cmp, 4, asm.R13, asm.Ptr(asm.R12, 0))
	c.Jcc(asm.E, again)
	c.Mov(8, asm.R13, asm.Imm(1<<16))
	c.Label(read)
	c.Pause()
	c.Dec(8, asm.R13)
	c.Jcc(asm.NE, read)
}

// longMemory takes the host longer to map than a tick of 1000 Hz lasts; longAt is
// where there is room for it.
const (
	longMemory = 32 << 20
	longAt     = arch.Addr(1 << 32)
	longTries  = 6
)

// playUntilSeen uses up some stubs: a tick may come too early. It ends when there
// is something to see.
func playUntilSeen(c *Case, s *stage, o *offender) error {
	secret := s.victim.secretFrame()
	was := bytes.Clone(s.mem.Bytes(secret))
	for try := 1; ; try++ {
		s.vcpu.StartSlice()
		err := o.run(c, s.vcpu)
		if err != nil || try == longTries || o.dead == nil || len(s.breaches) > 0 || !bytes.Equal(was, s.mem.Bytes(secret)) {
			return err
		}
		if o, err = s.newOffender(c); err != nil {
			return err
		}
	}
}
