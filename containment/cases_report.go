package containment

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// reportCases lie to the monitor.
func reportCases() []Case {
	// lie flips the word over stub data that say something impossible, again
	// and again.
	lie := func(say func(c *code)) func(c *code) {
		return func(c *code) {
			c.attempt()
			c.Mov(8, asm.RBX, num(resultAt+8))
			c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(50))
			c.Label("again")
			say(c)
			c.flip()
			c.awaitTurn()
			c.Mov(8, asm.RBX, num(resultAt+8))
			c.Dec(8, asm.Ptr(asm.RBX, 0))
			c.Jcc(asm.NE, "again")
			c.done()
		}
	}
	field := func(c *code, size int, off arch.Addr, v int64) {
		c.Mov(8, asm.RBX, num(c.layout.Data+off))
		c.Mov(size, asm.Ptr(asm.RBX, 0), asm.Imm(v))
	}
	posted := []string{sitePosted}
	return []Case{
		{
			Name: "forge-offsets", Promise: "P2", Want: Want{Killed, Killed, Killed, Skipped},
			About: "reports a signal frame that lies outside of the signal stack",
			needs: posted,
			emit: lie(func(c *code) {
				field(c, 4, stubabi.OffSignal, int64(unix.SIGALRM))
				field(c, 2, stubabi.OffMCtxOffset, 0xfff0)
			}),
		},
		{
			Name: "forge-signal", Promise: "P2", Want: everywhere(Killed),
			About: "reports a signal number that there is not",
			emit: lie(func(c *code) {
				c.say(-77)
			}),
		},
		{
			Name: "forge-frame", Promise: "P2", Want: Want{Killed, Killed, Killed, Denied},
			About: "fills the signal stack with ones and reports them as a frame",
			Note:  "a sealed stub's registers are read at fixed places: nonsense there is a guest's state like any other.",
			emit: lie(func(c *code) {
				c.Mov(8, asm.RDI, num(c.stack))
				c.Mov(8, asm.RCX, asm.Imm(c.stackSize))
				c.Mov(8, asm.RAX, asm.Imm(-1))
				c.RepStosb()
				c.say(unix.SIGALRM)
			}),
		},
		{
			Name: "forge-length", Promise: "P2", Want: Want{Killed, Killed, Killed, Skipped},
			About: "reports that entry 2147483647 of its batch failed, of which there is none",
			needs: posted,
			emit: lie(func(c *code) {
				field(c, 4, stubabi.OffSignal, int64(unix.SIGALRM))
				field(c, 4, stubabi.OffLen, 0x7fffffff)
				field(c, 8, stubabi.OffErr, -int64(unix.EPERM))
			}),
		},
		{
			Name: "forge-error", Promise: "P2", Want: Want{Killed, Killed, Killed, Skipped},
			About: "reports an error that is no errno",
			needs: posted,
			emit: lie(func(c *code) {
				field(c, 4, stubabi.OffSignal, int64(unix.SIGALRM))
				field(c, 4, stubabi.OffLen, -1)
				field(c, 8, stubabi.OffErr, -0x7fffffff)
			}),
		},
		{
			Name: "forge-and-run-on", Promise: "P5", Want: everywhere(Contained), events: 200,
			About: "reports system calls that it never made, and runs on meanwhile",
			emit: func(c *code) {
				c.attempt()
				c.call(nrOwn)
				c.Mov(8, asm.RBX, num(resultAt+8))
				c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(60))
				c.Label("again")
				c.forge(nrOwn)
				c.Mov(8, asm.RBX, num(resultAt+8))
				c.Dec(8, asm.Ptr(asm.RBX, 0))
				c.Jcc(asm.NE, "again")
				c.done()
			},
		},
		{
			Name: "keep-revoked-read", Promise: "P4", Want: Want{Breached, Breached, Breached, Contained},
			About: "reports that an unmap has been done which it skipped, and reads the frame when it is another's",
			Note:  "no check of calls helps against a call that is not made: validate does not promise this.",
			emit:  keepRevoked(func(c *code) { c.peek(goneAt) }), serve: revokeTwice,
			prepare: prepareGone,
		},
		{
			Name: "keep-revoked-write", Promise: "P4", Want: Want{Breached, Breached, Breached, Contained},
			About: "the same, and writes the frame",
			Note:  "as above.",
			emit:  keepRevoked(func(c *code) { c.poke(goneAt) }), serve: revokeTwice,
			prepare: prepareGone,
		},
		{
			Name: "keep-revoked-proof", Promise: "P4", Want: Want{Breached, Breached, Breached, Contained},
			About: "the same, while the monitor forces a proof that the mapping is gone before it gives the frame away",
			Note:  "only sealed has such a proof.",
			emit:  keepRevoked(func(c *code) { c.peek(goneAt); c.poke(goneAt) }), serve: revokeForced,
			prepare: prepareGone,
		},
		{
			Name: "keep-shared-write", Promise: "P4", Want: Want{Breached, Breached, Breached, Contained},
			About: "keeps the right to write to a page that its kernel has made read-only to share it with another process, as a fork does",
			Note:  "only sealed has a proof that the right is gone: that is what a fork waits for.",
			emit:  keepRevoked(func(c *code) { c.poke(goneAt) }), serve: shareForced,
			prepare: prepareGone,
		},
		{
			Name: "false-proof", Promise: "P4", Want: Want{Breached, Breached, Breached, Contained},
			About: "reports a stop that was none, takes the word back when the monitor has handed it over for a proof, and goes to the stub's wait: to be found there with the old mapping",
			Note:  "as above: the others have no proof to falsify.",
			needs: []string{siteWait},
			emit:  falseProof, serve: revokeForced, prepare: prepareGone,
			play: func(c *Case, s *stage, o *offender) error {
				for try := 0; ; try++ {
					o.elsewhere = true // the moment is a short one
					if err := o.run(c, s.vcpu); err != nil || try == proofStubs || len(s.breaches) > 0 {
						return err
					}
					var err error
					if o, err = s.newOffender(c); err != nil {
						return err
					}
				}
			},
		},
		{
			Name: "poison-queue", Promise: "P1", Want: Want{Breached, Breached, Killed, Skipped},
			About: "writes entries of its own into the queue and has the stub run them",
			needs: []string{sitePosted},
			emit: func(c *code) {
				// The stub's own code receives the descriptor and runs
				// the batch, entered like a function.
				back := c.label()
				c.attempt()
				c.call(nrMore)
				c.forge(nrMore)
				entry := arch.Addr(stubabi.OffEntries)
				field(c, 8, entry+stubabi.OffEntryAddr, int64(holeAt))
				c.Mov(8, asm.RBX, num(c.layout.Data+entry))
				c.Mov(8, asm.RAX, num(c.s.victim.secretFrame()*arch.PageSize))
				c.Mov(8, asm.Ptr(asm.RBX, stubabi.OffEntryOffset), asm.RAX)
				c.Mov(8, asm.RBX, num(c.layout.Data))
				c.Mov(8, asm.RSP, num(stackTop))
				c.MovLabel(asm.R11, back)
				c.Mov(8, asm.Ptr(asm.RSP, 0), asm.R11)
				c.jumpAt(sitePosted, back)
				c.Label(back)
				c.peek(holeAt)
				c.done()
			},
		},
	}
}

func prepareGone(s *stage, o *offender) {
	if _, err := o.grant(goneAt, arch.Read|arch.Write); err != nil {
		panic("BUG: " + err.Error())
	}
}

// keepRevoked touches a page, so that it is mapped, has it revoked by a forged
// call, skips the batch that would unmap it and says that it is done.
func keepRevoked(touch func(c *code)) func(c *code) {
	return func(c *code) {
		c.Mov(8, asm.RBX, num(goneAt))
		c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(1))
		c.attempt()
		c.call(nrOwn)
		c.forge(nrOwn)
		c.forge(nrOwn) // the batch in between is skipped
		touch(c)
		c.done()
	}
}

// revokeTwice revokes the page when it is called for the second time: the first
// call was a true one.
func revokeTwice(s *stage, o *offender, ev *skas.Event) {
	o.calls++
	if o.calls == 2 {
		if err := o.revoke(goneAt); err != nil {
			panic("BUG: " + err.Error())
		}
	}
}

// shareForced gives the page to the innocent as well, read-only, once there is a
// proof that it is read-only for the offender.
func shareForced(s *stage, o *offender, ev *skas.Event) {
	if o.calls++; o.calls != 2 {
		return
	}
	pfn := o.mm.Table().Lookup(goneAt).PFN()
	o.mm.Table().Protect(goneAt, goneAt+arch.PageSize, arch.Read)
	err := o.mm.Revoke()
	if err == nil {
		delete(s.exempt, pfn)
		s.note(pfn)
		s.mem.Ref(pfn)
		err = s.victim.take(pfn, arch.Read)
	}
	s.trace("shared: %v", err)
}

// proofStubs is how many stubs falseProof uses up.
const proofStubs = 20

// falseProof forges a report, and takes the word back in the moment in which the
// monitor has handed it over and is about to look whether the stub waits.
func falseProof(c *code) {
	c.Mov(8, asm.RBX, num(goneAt))
	c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(1))
	c.attempt()
	c.call(nrOwn)
	c.ifTried("woken")
	c.tried()
	c.forge(nrOwn) // leaves the word's address in rbx
	if !c.sealed {
		c.say(unix.SIGSYS)
		c.Mov(8, asm.RBX, num(c.word))
	}
	c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(int64(stubabi.InKern)))
	if c.sealed {
		c.Mov(8, asm.RBX, num(c.kind))
		c.Mov(4, asm.Ptr(asm.RBX, 0), asm.Imm(stubabi.ReportRan))
		c.Mov(8, asm.R11, num(c.layout.Code+c.code["wait"]))
		c.JmpTo(asm.R11)
	} else {
		c.pass(siteWait, unix.SYS_FUTEX, num(c.word), asm.Imm(0), asm.Imm(int64(stubabi.InKern)), asm.Imm(0))
	}
	c.Label("woken")
	c.peek(goneAt)
	c.done()
}

// revokeForced has the monitor prove that the mapping is gone.
func revokeForced(s *stage, o *offender, ev *skas.Event) {
	if o.calls++; o.calls == 2 {
		o.takeForced(goneAt)
	}
}

// takeForced takes a page away, with a proof if the monitor gets one, and then
// gives the frame to the innocent.
func (o *offender) takeForced(at arch.Addr) {
	pfn := o.mm.Table().Lookup(at).PFN()
	o.mm.Table().Unmap(at, at+arch.PageSize)
	err := o.mm.Revoke()
	if err == nil && o.s.mem.Refs(pfn) == 0 {
		if err := o.give(pfn); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	o.s.trace("revoked: %v", err)
}
