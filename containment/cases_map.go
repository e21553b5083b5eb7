package containment

import (
	"encoding/binary"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/physmem"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// hijacked is what becomes of foreign mappings by the program's own call.
var hijacked = Want{Breached, Breached, Denied, Killed}

// mapCases enter the stub's mapping calls.
func mapCases() []Case {
	read := func(frame func(s *stage) physmem.PFN) func(c *code) {
		return func(c *code) {
			c.obtain()
			c.attempt()
			c.mmap(holeAt, arch.PageSize, protR, uint64(frame(c.s)))
			c.peek(holeAt)
			c.done()
		}
	}
	write := func(frame func(s *stage) physmem.PFN) func(c *code) {
		return func(c *code) {
			c.obtain()
			c.attempt()
			c.mmap(holeAt, arch.PageSize, protRW, uint64(frame(c.s)))
			c.poke(holeAt)
			c.done()
		}
	}
	foreign := func(s *stage) physmem.PFN { return s.victim.secretFrame() }
	return []Case{
		{
			Name: "map-foreign-read", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap with a frame of another process and reads it",
			needs: []string{siteMmap}, emit: read(foreign),
		},
		{
			Name: "map-foreign-write", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap with a frame of another process and writes it",
			needs: []string{siteMmap}, emit: write(foreign),
		},
		{
			Name: "map-free-frame", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap with a frame that nobody has and reads what is left in it",
			needs: []string{siteMmap}, emit: read(func(s *stage) physmem.PFN { return s.free }),
		},
		{
			Name: "map-more-access", Promise: "P1", Want: hijacked,
			About: "maps a frame of its own that it may only read for writing, and writes it",
			needs: []string{siteMmap},
			emit: write(func(s *stage) physmem.PFN {
				return s.offenders[0].mm.Table().Lookup(readAt).PFN()
			}),
		},
		{
			Name: "map-beyond-grant", Promise: "P1", Want: hijacked,
			About: "maps two pages at a page of its own, the second being another process's frame",
			needs: []string{siteMmap},
			emit: func(c *code) {
				own := c.o.neighbour(readAt)
				c.obtain()
				c.attempt()
				c.mmap(holeAt, 2*arch.PageSize, protR, uint64(own))
				c.peek(holeAt + arch.PageSize)
				c.done()
			},
		},
		{
			Name: "map-stub-data-read", Promise: "P1", Want: Want{Breached, Breached, Denied, Skipped},
			About: "reads the registers of another process in its stub's signal stack",
			Note:  "under sealed no stub page is guest memory, so that there is nothing to map.",
			needs: []string{siteMmap, sitePages},
			emit: func(c *code) {
				pages := c.s.victim.stub
				c.obtain()
				c.attempt()
				c.mmap(holeAt, int64(len(pages))*arch.PageSize, protR, uint64(pages[0]))
				c.peek(holeAt + c.s.victim.registersIn())
				c.done()
			},
		},
		{
			Name: "map-stub-data-write", Promise: "P5", Want: Want{Breached, Breached, Denied, Skipped},
			About: "changes the page over which another process's stub talks to the monitor",
			needs: []string{siteMmap, sitePages},
			emit:  write(func(s *stage) physmem.PFN { return s.victim.stub[0] }),
		},
		{
			Name: "map-stub-code-write", Promise: "P5", Want: Want{Breached, Breached, Denied, Skipped},
			About: "changes the code that all stubs run",
			needs: []string{siteMmap, sitePages},
			emit: func(c *code) {
				c.obtain()
				c.attempt()
				c.mmap(holeAt, arch.PageSize, protRW, uint64(c.s.codeFrames[0]))
				c.poke(holeAt + arch.PageSize - 8) // behind the code
				c.done()
			},
		},
		{
			Name: "map-in-batch", Promise: "P1", Want: hijacked,
			About: "has the monitor hand over a batch of mappings, and slips one of its own in before they run",
			needs: []string{siteMmap},
			emit: func(c *code) {
				c.obtain()
				c.attempt()
				c.call(nrOwn)
				c.forge(nrOwn) // the same again: a batch is under way
				c.mmap(holeAt, arch.PageSize, protR, uint64(c.s.victim.secretFrame()))
				c.peek(holeAt)
				c.done()
			},
			serve: func(s *stage, o *offender, ev *skas.Event) {
				for range 8 {
					if _, err := o.grant(o.more, arch.Read|arch.Write); err != nil {
						panic("BUG: " + err.Error())
					}
					o.more += 2 * arch.PageSize
				}
			},
		},
		{
			Name: "map-single-step", Promise: "P1", Want: hijacked,
			About: "enters the stub's mmap with the trap flag set, so that a signal comes right behind it",
			needs: []string{siteMmap},
			emit: func(c *code) {
				back := c.label()
				c.obtain()
				c.attempt()
				c.mmapArgs(holeAt, arch.PageSize, protR, uint64(c.s.victim.secretFrame()))
				for _, r := range []asm.Reg{asm.RBX, asm.R12, asm.R13, asm.R14, asm.R15} {
					c.Mov(8, r, asm.Imm(0))
				}
				c.Mov(8, asm.RSP, num(stackTop))
				c.MovLabel(asm.RBP, back)
				c.Mov(8, asm.R11, num(c.at(siteMmap)))
				c.setFlags(amd64.TrapFlag)
				c.JmpTo(asm.R11)
				c.Label(back)
				c.peek(holeAt)
				c.done()
			},
		},
		{
			Name: "map-under-ticks", Promise: "P1", Want: hijacked, hz: 1000, events: 4000,
			About: "enters the stub's mmap again and again while ticks come in, and reads what it gets",
			needs: []string{siteMmap},
			emit: func(c *code) {
				c.obtain()
				c.attempt()
				c.Mov(8, asm.RAX, asm.Imm(0))
				c.Mov(8, asm.RBX, num(resultAt+8))
				c.Mov(8, asm.Ptr(asm.RBX, 0), asm.Imm(300))
				c.Label("again")
				c.mmap(holeAt, arch.PageSize, protR, uint64(c.s.victim.secretFrame()))
				c.Mov(8, asm.RBX, num(resultAt+8))
				c.Dec(8, asm.Ptr(asm.RBX, 0))
				c.Jcc(asm.NE, "again")
				c.peek(holeAt)
				c.done()
			},
		},
		{
			Name: "unmap-stub-code", Promise: "P2", Want: Want{Killed, Killed, Denied, Killed},
			About: "enters the stub's munmap with the stub code itself",
			needs: []string{siteMunmap},
			emit: func(c *code) {
				c.attempt()
				c.enter(siteMunmap, unix.SYS_MUNMAP, num(c.layout.Code), asm.Imm(arch.PageSize))
				c.done()
			},
		},
		{
			Name: "unmap-stub-data", Promise: "P2", Want: Want{Killed, Killed, Denied, Killed},
			About: "enters the stub's munmap with the stub data and the signal stack",
			needs: []string{siteMunmap},
			emit: func(c *code) {
				c.attempt()
				c.enter(siteMunmap, unix.SYS_MUNMAP, num(c.layout.Data), num(c.s.arch.UserTop()-c.layout.Data))
				c.done()
			},
		},
		{
			Name: "unmap-everything", Promise: "P2", Want: Want{Killed, Killed, Denied, Killed},
			About: "enters the stub's munmap with a range that ends beyond guest space",
			needs: []string{siteMunmap},
			emit: func(c *code) {
				c.attempt()
				c.enter(siteMunmap, unix.SYS_MUNMAP, num(holeAt), num(c.s.arch.UserTop()-holeAt))
				c.done()
			},
		},
		{
			Name: "map-over-stub-code", Promise: "P1", Want: hijacked,
			About: "maps a page of its own over the stub code, for a stub that maps what it likes",
			needs: []string{siteMmap},
			prepare: func(s *stage, o *offender) {
				o.writeOwnStub(func(a *asm.Assembler) { // maps the frame at offset r15
					a.Mov(8, asm.RDI, num(holeAt))
					a.Mov(8, asm.RSI, asm.Imm(arch.PageSize))
					a.Mov(8, asm.RDX, asm.Imm(protR))
					a.Mov(8, asm.R9, asm.R15)
					a.Mov(8, asm.RAX, asm.Imm(unix.SYS_MMAP))
					a.Syscall()
				})
			},
			emit: func(c *code) {
				c.obtain()
				c.attempt()
				c.enterOwnStub(num(c.s.victim.secretFrame() * arch.PageSize))
				c.peek(holeAt)
				c.done()
			},
		},
		{
			Name: "int80-in-stub", Promise: "P1", Want: Want{Killed, Killed, Denied, Killed},
			About: "maps a page of its own over the stub code, with an int 0x80 in it",
			needs: []string{siteMmap}, prepare: ownCall(0xcd, 0x80), emit: callInStub,
		},
		{
			Name: "sysenter-in-stub", Promise: "P1", Want: Want{Contained, Contained, Denied, Killed},
			About: "the same with a sysenter, which not every CPU has in 64-bit code",
			needs: []string{siteMmap}, prepare: ownCall(0x0f, 0x34), emit: callInStub,
		},
		{
			Name: "map-exhaust", Promise: "P5", Want: everywhere(Contained), work: 30 * time.Second,
			About: "has its kernel map every second page of a large range, until the host allows no more mappings",
			emit: func(c *code) {
				c.attempt()
				c.call(nrOwn)
				c.done()
			},
			serve: func(s *stage, o *offender, ev *skas.Event) {
				pfn := o.mm.Table().Lookup(readAt).PFN()
				for i := range exhaustMaps {
					s.mem.Ref(pfn)
					if err := o.mm.Table().Map(1<<32+arch.Addr(2*i*arch.PageSize), pfn, arch.Read); err != nil {
						panic("BUG: " + err.Error())
					}
				}
			},
		},
	}
}

// exhaustMaps is more than a process may have mappings (vm.max_map_count; Linux's
// default is 65530).
const exhaustMaps = 66000

// setFlags sets the flags register; the stack has to be good.
func (c *code) setFlags(flags int64) {
	c.Mov(8, asm.RAX, asm.Imm(flags|0x202))
	c.Push(asm.RAX)
	c.Mov(8, asm.RAX, asm.Imm(unix.SYS_MMAP))
	c.Bytes([]byte{0x9d}) // popfq
}

// writeOwnStub fills the page at frameAt with a stub code page of the program's
// own: behind the stub's mmap it does what emit says and goes back to the
// program.
func (o *offender) writeOwnStub(emit func(a *asm.Assembler)) {
	l := o.s.proto.layout
	a := asm.New(uint64(l.Code))
	site := o.s.proto.sites[siteMmap]
	a.Zero(int(site-l.Code) + 2)
	emit(a)
	a.JmpTo(asm.RBP)
	text, err := a.Assemble()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	page := make([]byte, arch.PageSize)
	copy(page, text)
	o.write(frameAt, page)
}

// enterOwnStub maps that page over the stub code, and so goes on in it. r15 is
// for its use.
func (c *code) enterOwnStub(r15 asm.Imm) {
	back := c.label()
	c.mmapArgs(c.layout.Code, arch.PageSize, protX, uint64(c.o.mm.Table().Lookup(frameAt).PFN()))
	c.Mov(8, asm.R15, r15)
	c.Mov(8, asm.R12, asm.Imm(0))
	c.Mov(8, asm.RBX, asm.Imm(0))
	c.jumpAt(siteMmap, back)
	c.Label(back)
}

// registersIn is where in its stub's pages the innocent's secret register lies,
// as long as it is stopped.
func (v *victim) registersIn() arch.Addr {
	pages := v.s.mem.Range(v.stub[0], len(v.stub))
	for off := 0; off < len(pages); off += 8 {
		if binary.LittleEndian.Uint64(pages[off:]) == v.inReg {
			return arch.Addr(off)
		}
	}
	panic("BUG: the innocent's registers are not in its stub's pages")
}

// neighbour gives the offender a frame to read whose next one is the innocent's,
// with a secret.
func (o *offender) neighbour(at arch.Addr) physmem.PFN {
	s := o.s
	pfn, err := s.mem.AllocContig(2)
	if err == nil {
		err = o.mm.Table().Map(at, pfn, arch.Read)
	}
	if err == nil {
		err = s.victim.take(pfn+1, arch.Read)
	}
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.fill(pfn+1, s.secret("another process's frame, behind one of its own"))
	s.note(pfn)
	s.note(pfn + 1)
	return pfn
}

// ownCall makes a stub code page that asks for the stub's pid by a 32-bit call.
func ownCall(insn ...byte) func(s *stage, o *offender) {
	return func(s *stage, o *offender) {
		s.secrets[uint64(o.mm.PID())] = "the host's answer to a system call"
		o.writeOwnStub(func(a *asm.Assembler) {
			a.Mov(8, asm.RAX, asm.Imm(sys32Getpid))
			a.Bytes(insn)
			a.Mov(8, asm.RBX, num(resultAt))
			a.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX)
		})
	}
}

func callInStub(c *code) {
	c.obtain()
	c.attempt()
	c.enterOwnStub(0)
	c.done()
}
