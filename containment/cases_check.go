package containment

import (
	"cmp"
	"encoding/binary"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/physmem"
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
	const rw = arch.Read | arch.Write
	page := int64(arch.PageSize)
	// Of two times as many pages, all but the last are repeated for want of a
	// proof: the live batch is full.
	const fullBatch = stubabi.MaxSealedEntries / 2
	hole := func(c *code) { c.peek(holeAt) }
	var cases []Case
	for _, x := range []struct {
		name, about string
		claim       claim
		use         func(c *code)
		serve       func(s *stage, o *offender, ev *skas.Event)
		prepare     func(s *stage, o *offender)
	}{
		{"check-foreign", "maps another process's frame, and names an entry of the live batch",
			claim{length: page, prot: protRW, foreign: true, elsewhere: true}, hole, grants(1, rw), nil},
		{"check-offset", "maps another process's frame with all else as in the live entry",
			claim{length: page, prot: protRW, foreign: true}, func(c *code) { c.peekEntry(0) }, grants(1, rw), nil},
		{"check-address", "makes the live entry's mapping at another address, has the page taken away, and reads the frame there when it is another's",
			claim{length: page, prot: protRW, elsewhere: true}, func(c *code) { c.call(nrOwn); c.peek(holeAt) }, grantThenTake, nil},
		{"check-access", "makes the live entry's mapping with more access, and writes the page",
			claim{length: page, prot: protRW}, func(c *code) { c.pokeEntry() }, grants(1, arch.Read), nil},
		{"check-length", "makes the live entry's mapping longer than it is, with another process's frame at its end",
			claim{length: 2 * page, prot: protR}, func(c *code) { c.peekEntry(arch.PageSize) }, grantNeighbour, nil},
		{"check-kind", "unmaps what the live entry maps",
			claim{length: page, prot: protRW, site: siteMunmap}, hole, grants(1, rw), nil},
		{"check-beyond", "names the entry behind the last one",
			claim{index: 1, length: page, prot: protRW}, hole, grants(1, rw), nil},
		{"check-own-entry", "names an entry that it has written by itself, into the page behind the batch",
			claim{index: ownEntry, absolute: true, length: page, prot: protRW, foreign: true, elsewhere: true, own: true}, hole, grants(1, rw), nil},
		{"check-wrap", "names an entry of its own by a number whose lower half is that of a live one",
			claim{index: -1 << 32, absolute: true, length: page, prot: protRW, foreign: true, elsewhere: true}, hole, grants(1, rw), wrapEntry},
		{"check-far", "names an entry so far away that there is nothing",
			claim{index: 1 << 27, length: page, prot: protRW, foreign: true}, hole, grants(1, rw), nil},
		{"check-full-batch", "maps another process's frame and names an entry of a full batch",
			claim{length: page, prot: protRW, foreign: true}, func(c *code) { c.peekEntry(0) }, grants(fullBatch, rw), nil},
		{"map-at-wake", "makes a mapping call at the instruction of another call",
			claim{length: page, prot: protRW, foreign: true, elsewhere: true, site: siteWake}, hole, grants(1, rw), nil},
	} {
		cases = append(cases, Case{
			Name: x.name, Promise: "P1", Want: sealed(Killed), About: x.about,
			needs: []string{siteCheck}, emit: claimed(x.claim, x.use), serve: x.serve, prepare: x.prepare,
		})
	}
	takeBack := grants(1, rw)
	return append(cases, tornCase(sealed(Killed)), Case{
		Name: "replay-old", Promise: "P4", Want: sealed(Killed),
		About: "makes a mapping of an earlier batch again, which has been taken back",
		needs: []string{siteCheck}, emit: claimed(claim{entry: oldAt, length: page, prot: protRW}, hole),
		serve: func(s *stage, o *offender, ev *skas.Event) {
			takeBack(s, o, ev)
			if o.calls == 2 {
				o.mm.Table().Unmap(moreAt, moreAt+arch.PageSize)
			}
		},
	}, Case{
		Name: "replay-live", Promise: "P1", Want: sealed(Denied),
		About: "makes a mapping of the live batch by itself, which the page table grants: the check lets it pass",
		needs: []string{siteCheck}, serve: grants(1, rw),
		emit: claimed(claim{length: page, prot: protRW}, func(*code) {}),
	})
}

// claim is what a program says in registers when it enters a mapping call: all
// that is not said is as in the live entry.
type claim struct {
	index     int64 // added to that of the live entry, or absolute
	absolute  bool
	entry     arch.Addr // oldAt for the entry before the live one
	length    int64
	prot      int64
	foreign   bool   // another process's frame instead of the entry's
	elsewhere bool   // at holeAt instead of the entry's address
	own       bool   // with the entry ownEntry
	site      string // siteCheck, if empty
}

// ownEntry is the number of an entry behind the batch, in a part of the data page
// that nobody uses.
const (
	ownEntryAt = 0x800
	ownEntry   = (arch.PageSize + ownEntryAt - stubabi.OffControlEntries) / stubabi.SealedEntrySize
)

// claimed has a batch made live by a forged report, enters the call, and uses
// what it has got. The program comes to that, if at all, by the stub's own return
// to the guest, which leads to where the monitor last resumed it.
func claimed(x claim, use func(c *code)) func(c *code) {
	return func(c *code) {
		back := c.label()
		site := cmp.Or(x.site, siteCheck)
		c.attempt()
		c.call(nrOwn)
		c.ifTried("mapped")
		c.forge(nrOwn) // a batch is live, and this program runs
		c.findEntry(liveAt)
		c.tried()
		if x.own {
			c.Mov(8, asm.RBX, num(c.layout.Data+ownEntryAt))
			c.ownEntry()
		}
		c.Mov(8, asm.RBX, num(cmp.Or(x.entry, liveAt)))
		nr := int64(unix.SYS_MMAP)
		if site == siteMunmap {
			nr = unix.SYS_MUNMAP
		}
		c.args(nr, []asm.Operand{asm.Ptr(asm.RBX, 0), asm.Imm(x.length), asm.Imm(x.prot),
			asm.Imm(c.flags), asm.Imm(c.fd), asm.Ptr(asm.RBX, 8)})
		if x.foreign {
			c.Mov(8, asm.R9, num(c.s.victim.secretFrame()*arch.PageSize))
		}
		if x.elsewhere {
			c.Mov(8, asm.RDI, num(holeAt))
		}
		c.Mov(8, asm.RBX, asm.Imm(x.index))
		if !x.absolute {
			c.Alu(asm.Add, 8, asm.RBX, asm.R14)
		}
		c.jumpAt(site, back)
		c.Label(back)
		c.Label("mapped")
		use(c)
		c.done()
		c.Label("not-live")
		c.call(nrUntried)
	}
}

// ownEntry writes the entry of a mapping of another process's frame at rbx.
func (c *code) ownEntry() {
	for off, v := range map[int32]asm.Imm{
		stubabi.OffSealedAddr: num(holeAt), stubabi.OffSealedLength: arch.PageSize,
		stubabi.OffSealedOffset: num(c.s.victim.secretFrame() * arch.PageSize),
		stubabi.OffSealedProt:   protRW | asm.Imm(stubabi.Mmap)<<32,
	} {
		c.Mov(8, asm.RAX, v)
		c.Mov(8, asm.Ptr(asm.RBX, off), asm.RAX)
	}
}

// Where a program notes that it has entered the call.
const triedAt = resultAt + 0x68

// tried notes it, and ifTried goes to a label if it has.
func (c *code) tried() {
	c.Mov(8, asm.RBX, num(triedAt))
	c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(1))
}

func (c *code) ifTried(label string) {
	c.Mov(8, asm.RBX, num(triedAt))
	c.Alu(asm.Cmp, 8, asm.Ptr(asm.RBX, 0), asm.Imm(0))
	c.Jcc(asm.NE, label)
}

// peekEntry reads where the live entry maps something, pokeEntry writes there.
func (c *code) peekEntry(off int32) {
	c.Mov(8, asm.RBX, num(liveAt))
	c.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 0))
	c.Mov(8, asm.RDI, asm.Ptr(asm.RBX, off))
	c.Mov(8, asm.RBX, num(resultAt))
	c.Mov(8, asm.Ptr(asm.RBX, 16), asm.RDI)
}

func (c *code) pokeEntry() {
	c.Mov(8, asm.RBX, num(liveAt))
	c.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 0))
	c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(-1))
}

// grants has the kernel grant pages at each call, and tell where.
func grants(n int, acc arch.Access) func(s *stage, o *offender, ev *skas.Event) {
	return func(s *stage, o *offender, ev *skas.Event) {
		for range n {
			pfn, err := o.grant(o.more, acc)
			if err != nil {
				panic("BUG: " + err.Error())
			}
			if acc&arch.Write == 0 {
				s.note(pfn)
				delete(s.exempt, pfn)
			}
			o.tellEntry(pfn)
		}
	}
}

// tellEntry tells of a page that was granted at o.more.
func (o *offender) tellEntry(pfn physmem.PFN) {
	var entry [16]byte
	binary.LittleEndian.PutUint64(entry[:], uint64(o.more))
	binary.LittleEndian.PutUint64(entry[8:], uint64(pfn)*arch.PageSize)
	if o.calls++; o.calls == 1 {
		o.write(oldAt, entry[:])
	}
	o.write(liveAt, entry[:])
	o.more += 2 * arch.PageSize
}

// grantThenTake grants two pages, and at the third call takes the second one away,
// with a proof, and gives the frame to the innocent.
func grantThenTake(s *stage, o *offender, ev *skas.Event) {
	if o.calls < 2 {
		grants(1, arch.Read|arch.Write)(s, o, ev)
		return
	}
	o.takeForced(o.more - 2*arch.PageSize)
}

// grantNeighbour grants frames whose next ones are the innocent's.
func grantNeighbour(s *stage, o *offender, ev *skas.Event) {
	o.tellEntry(o.neighbour(o.more))
}

// wrapEntry grants the page at which the stub would look for entry 0 if all of a
// number of which the lower half is 0 were used, with an entry of the program's
// own.
func wrapEntry(s *stage, o *offender) {
	at := s.proto.layout.Control - 1<<32*stubabi.SealedEntrySize
	if _, err := o.grant(at, arch.Read|arch.Write); err != nil {
		panic("BUG: " + err.Error())
	}
	le := binary.LittleEndian
	e := le.AppendUint64(nil, uint64(holeAt))
	e = le.AppendUint64(e, arch.PageSize)
	e = le.AppendUint64(e, uint64(s.victim.secretFrame())*arch.PageSize)
	e = le.AppendUint64(e, protRW|uint64(stubabi.Mmap)<<32)
	o.write(at+stubabi.OffControlEntries, e)
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
			c.sayCall(nrOwn)
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
