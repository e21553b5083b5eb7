package containment

import (
	"encoding/binary"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Where the kernel of checkCases leaves the live entry, for the program: address
// and offset, and those of the entry before it.
const (
	liveAt = resultAt + 0x40
	oldAt  = resultAt + 0x50
)

// checkCases enter the sealed stub's mapping calls while a batch is live, with
// registers that the check behind the call might take for an entry of it.
func checkCases() []Case {
	sealed := func(v Verdict) Want { return Want{Skipped, Skipped, Skipped, v} }
	type args struct {
		index    int64     // added to that of the live entry
		entry    arch.Addr // liveAt or oldAt
		length   int64
		prot     int64
		foreign  bool // another process's frame instead of the entry's
		elsehere bool // not at the entry's address
		site     string
	}
	enter := func(x args) func(c *code) {
		return func(c *code) {
			back := c.label()
			c.attempt()
			c.call(nrOwn)
			c.forge(nrOwn) // a batch is live, and this program runs
			c.findEntry(liveAt)
			c.Mov(8, asm.RBX, num(x.entry))
			nr := int64(unix.SYS_MMAP)
			if x.site == siteMunmap {
				nr = unix.SYS_MUNMAP
			}
			c.args(nr, []asm.Operand{asm.Ptr(asm.RBX, 0), asm.Imm(x.length), asm.Imm(x.prot),
				asm.Imm(c.flags), asm.Imm(c.fd), asm.Ptr(asm.RBX, 8)})
			if x.foreign {
				c.Mov(8, asm.R9, num(c.s.victim.secretFrame()*arch.PageSize))
			}
			if x.elsehere {
				c.Mov(8, asm.RDI, num(holeAt))
			}
			c.Mov(8, asm.RBX, asm.Imm(x.index))
			c.Alu(asm.Add, 8, asm.RBX, asm.R14)
			c.jumpAt(x.site, back)
			c.Label(back)
			c.peek(holeAt)
			c.done()
			c.Label("not-live")
			c.call(nrUntried)
		}
	}
	grants := func(n int, acc arch.Access) func(s *stage, o *offender, ev *skas.Event) {
		return func(s *stage, o *offender, ev *skas.Event) {
			for range n {
				pfn, err := o.grant(o.more, acc)
				if err != nil {
					panic("BUG: " + err.Error())
				}
				var entry [16]byte
				binary.LittleEndian.PutUint64(entry[:], uint64(o.more))
				binary.LittleEndian.PutUint64(entry[8:], uint64(pfn)*arch.PageSize)
				if o.calls++; o.calls == 1 {
					o.write(oldAt, entry[:])
				}
				o.write(liveAt, entry[:])
				o.more += 2 * arch.PageSize
			}
		}
	}
	// Of two times as many pages, all but the last are repeated for want of a
	// proof: the live batch is full.
	const fullBatch = stubabi.MaxSealedEntries / 2
	const rw = arch.Read | arch.Write
	page := int64(arch.PageSize)
	var cases []Case
	for _, x := range []struct {
		name, about string
		want        Verdict
		args        args
		pages       int
		acc         arch.Access
	}{
		{"check-foreign", "maps another process's frame, and names an entry of the live batch", Killed,
			args{entry: liveAt, length: page, prot: protRW, foreign: true, elsehere: true, site: siteCheck}, 1, rw},
		{"check-offset", "maps another process's frame with all else as in the live entry", Killed,
			args{entry: liveAt, length: page, prot: protRW, foreign: true, site: siteCheck}, 1, rw},
		{"check-address", "makes the live entry's mapping at another address", Killed,
			args{entry: liveAt, length: page, prot: protRW, elsehere: true, site: siteCheck}, 1, rw},
		{"check-access", "makes the live entry's mapping with more access", Killed,
			args{entry: liveAt, length: page, prot: protRW, site: siteCheck}, 1, arch.Read},
		{"check-length", "makes the live entry's mapping longer than it is", Killed,
			args{entry: liveAt, length: 2 * page, prot: protRW, site: siteCheck}, 1, rw},
		{"check-kind", "unmaps what the live entry maps", Killed,
			args{entry: liveAt, length: page, prot: protRW, site: siteMunmap}, 1, rw},
		{"check-beyond", "names the entry behind the last one", Killed,
			args{index: 1, entry: liveAt, length: page, prot: protRW, site: siteCheck}, 1, rw},
		{"check-wrap", "names an entry by a number whose upper half is not zero, and maps another process's frame", Killed,
			args{index: 1 << 32, entry: liveAt, length: page, prot: protRW, foreign: true, site: siteCheck}, 1, rw},
		{"check-far", "names an entry so far away that its address wraps around to a page of its own", Killed,
			args{index: 1 << 27, entry: liveAt, length: page, prot: protRW, foreign: true, site: siteCheck}, 1, rw},
		{"check-full-batch", "maps another process's frame and names an entry of a full batch", Killed,
			args{entry: liveAt, length: page, prot: protRW, foreign: true, site: siteCheck}, fullBatch, rw},
	} {
		cases = append(cases, Case{
			Name: x.name, Promise: "P1", Want: sealed(x.want), About: x.about,
			needs: []string{siteCheck}, emit: enter(x.args), serve: grants(x.pages, x.acc),
		})
	}
	cases = append(cases, tornCase(sealed(Killed)))
	takeBack := grants(1, rw)
	return append(cases, Case{
		Name: "replay-old", Promise: "P4", Want: sealed(Killed),
		About: "makes a mapping of an earlier batch again, which has been taken back",
		needs: []string{siteCheck}, emit: enter(args{entry: oldAt, length: page, prot: protRW, site: siteCheck}),
		serve: func(s *stage, o *offender, ev *skas.Event) {
			takeBack(s, o, ev)
			if o.calls == 2 {
				o.mm.Table().Unmap(moreAt, moreAt+arch.PageSize)
			}
		},
	}, Case{
		Name: "replay-live", Promise: "P1", Want: sealed(Denied), hz: 0, events: 30,
		About: "makes a mapping of the live batch by itself, which the page table grants: the check lets it pass",
		needs: []string{siteCheck}, serve: grants(1, rw),
		emit: enter(args{entry: liveAt, length: page, prot: protRW, site: siteCheck}),
	})
}

// findEntry makes r14 the index of the live entry for the address at a place; the
// program can read the stub's control page like the stub.
func (c *code) findEntry(at arch.Addr) {
	again, found := c.label(), c.label()
	c.Mov(8, asm.RBX, num(at))
	c.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
	c.Mov(8, asm.RBX, num(c.layout.Control+stubabi.OffControlEntries))
	c.Mov(8, asm.R14, asm.Imm(0))
	c.Label(again)
	c.Alu(asm.Cmp, 8, asm.RAX, asm.Ptr(asm.RBX, stubabi.OffSealedAddr))
	c.Jcc(asm.E, found)
	c.Alu(asm.Add, 8, asm.RBX, asm.Imm(stubabi.SealedEntrySize))
	c.Inc(8, asm.R14)
	c.Alu(asm.Cmp, 8, asm.R14, asm.Imm(stubabi.MaxSealedEntries))
	c.Jcc(asm.NE, again)
	c.Label(found)
	c.Alu(asm.Cmp, 8, asm.R14, asm.Imm(stubabi.MaxSealedEntries))
	c.Jcc(asm.E, "not-live")
}

// Where the program of tornCase finds how long to wait, in turns of a loop.
const delayAt = resultAt + 0x60

// tornStubs is how many stubs tornCase uses up: each has one try.
const tornStubs = 40

// tornCase has its kernel replace a batch that maps a page for writing by one
// that maps another frame there for reading only, and asks for that frame with
// write access meanwhile, from another CPU if there is one: an entry of which
// only the first half is new would allow it.
func tornCase(want Want) Case {
	const at = moreAt
	return Case{
		Name: "replay-torn", Promise: "P1", Want: want,
		About: "makes a mapping out of the old half and the new half of an entry, while the monitor rewrites it on another CPU",
		needs: []string{siteCheck},
		emit: func(c *code) {
			frame := c.o.mm.Table().Lookup(readAt).PFN()
			back := c.label()
			c.attempt()
			c.call(nrOwn)
			c.frameInRBX()
			c.Mov(8, asm.Ptr(asm.RBX, offFrameRAX), asm.Imm(nrOwn))
			c.say(unix.SIGSYS)
			c.Mov(8, asm.R12, num(c.layout.Control))
			c.Mov(4, asm.R13, asm.Ptr(asm.R12, stubabi.OffControlSeq))
			c.flip()
			c.Label("old")
			c.Alu(asm.Cmp, 4, asm.R13, asm.Ptr(asm.R12, stubabi.OffControlSeq))
			c.Jcc(asm.E, "old")
			c.Mov(8, asm.RBX, num(delayAt))
			c.Mov(8, asm.R13, asm.Ptr(asm.RBX, 0))
			c.Label("delay")
			c.Dec(8, asm.R13)
			c.Jcc(asm.NS, "delay")
			c.args(unix.SYS_MMAP, []asm.Operand{num(at), asm.Imm(arch.PageSize), asm.Imm(protRW),
				asm.Imm(c.flags), asm.Imm(c.fd), num(frame * arch.PageSize)})
			c.Mov(8, asm.RBX, asm.Imm(0))
			c.jumpAt(siteCheck, back)
			c.Label(back)
			c.poke(at)
			c.done()
		},
		serve: func(s *stage, o *offender, ev *skas.Event) {
			if o.calls++; o.calls == 1 {
				if _, err := o.grant(at, arch.Read|arch.Write); err != nil {
					panic("BUG: " + err.Error())
				}
				return
			}
			frame := o.mm.Table().Lookup(readAt).PFN()
			s.mem.Ref(frame)
			if err := o.mm.Table().Map(at, frame, arch.Read); err != nil {
				panic("BUG: " + err.Error())
			}
		},
		play: func(c *Case, s *stage, o *offender) error {
			for try := 0; ; try++ {
				var delay [8]byte
				binary.LittleEndian.PutUint64(delay[:], uint64(try*try*20)) // some 10 us at the end
				o.write(delayAt, delay[:])
				o.elsewhere = true
				if err := o.run(c, s.vcpu); err != nil || o.dead == nil || try == tornStubs {
					return err
				}
				var err error
				if o, err = s.newOffender(c); err != nil {
					return err
				}
			}
		},
	}
}
