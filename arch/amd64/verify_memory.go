package amd64

import (
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
)

// The rules of memory: constant places in the stub's pages, or an entry of the
// batch whose index has been bounded on the way. All are aligned, since guest
// code may have left alignment checks on.

func (v *verifier) load(in insn, s *state, m x86asm.Mem, size int) *term {
	if m.Segment != 0 || m.Index != 0 {
		v.find(in.off, "%v: memory that is not at a constant place", in)
		return v.fresh1(s)
	}
	if m.Base == x86asm.RIP {
		return v.loadAt(in, s, v.rip(in, m), size)
	}
	n, have, ok := gpr(m.Base)
	if !ok || have != 8 {
		v.find(in.off, "%v: memory through a register that the stub has no use for", in)
		return v.fresh1(s)
	}
	p := s.regs[n]
	if !v.bounded(s, p) {
		v.find(in.off, "%v: memory through a register that is not, on every way to here, the address of an entry with a bounded index", in)
		return v.fresh1(s)
	}
	if m.Disp < 0 || m.Disp+int64(size) > stubabi.SealedEntrySize || m.Disp%int64(size) != 0 {
		v.find(in.off, "%v: outside of the entry or not aligned", in)
	}
	s.looks++
	return v.term(term{kind: load, a: p, c: uint64(m.Disp), size: size, n: s.looks})
}

// bounded reports the address of an entry of the batch: a constant plus an
// index that was found below the batch's length.
func (v *verifier) bounded(s *state, p *term) bool {
	return p.kind == pointer && p.c == uint64(v.lay.Control)+stubabi.OffControlEntries &&
		p.a.c == stubabi.SealedEntryShift && v.belowLen(s, p.a.a.a)
}

// belowLen reports an index that was found below the batch's length.
func (v *verifier) belowLen(s *state, index *term) bool {
	for _, f := range s.facts {
		if f.rel == below && f.size == 4 && f.a == index && v.isControl(f.b, stubabi.OffControlLen) {
			return true
		}
	}
	return false
}

// isControl reports a look at a 32-bit word in the control page's head.
func (v *verifier) isControl(t *term, off uint64) bool {
	return t.kind == load && t.a == nil && t.size == 4 && t.c == uint64(v.lay.Control)+off
}

func (v *verifier) loadAt(in insn, s *state, addr uint64, size int) *term {
	if addr%uint64(size) != 0 {
		v.find(in.off, "%v: not aligned", in)
	}
	switch {
	case v.inStack(addr, size):
		// Nobody else writes here while the stub's code runs.
		for at, w := range s.mem {
			if at == addr && w.size == size {
				return w.value
			}
			if at < addr+uint64(size) && addr < at+uint64(w.size) {
				return v.fresh1(s)
			}
		}
		return v.term(term{kind: load, c: addr, size: size})
	case v.inControl(addr, size), v.inData(addr, size):
		s.looks++
		return v.term(term{kind: load, c: addr, size: size, n: s.looks})
	}
	v.find(in.off, "%v: reads %#x, which is none of the pages that the stub has for that", in, addr)
	return v.fresh1(s)
}

func (v *verifier) store(in insn, s *state, m x86asm.Mem, size int, value *term) {
	s.wrote = true
	if m.Segment != 0 || m.Index != 0 || m.Base != x86asm.RIP {
		v.find(in.off, "%v: writes to a place that is not constant", in)
		return
	}
	addr := v.rip(in, m)
	if !v.inData(addr, size) && !v.inStack(addr, size) {
		v.find(in.off, "%v: writes %#x, which is no page that the stub may write", in, addr)
	}
	if addr%uint64(size) != 0 {
		v.find(in.off, "%v: not aligned", in)
	}
	for at, w := range s.mem {
		if at != addr && at < addr+uint64(size) && addr < at+uint64(w.size) {
			delete(s.mem, at)
		}
	}
	s.mem[addr] = stored{value, size}
}

// xrstor loads the guest's extended state, and nothing may come between that and
// the guest which would not be done anew after a tick.
func (v *verifier) xrstor(in insn, s *state) {
	m, ok := in.Args[0].(x86asm.Mem)
	if !ok || m.Base != x86asm.RIP || m.Index != 0 || m.Segment != 0 {
		v.find(in.off, "%v: extended state from a place that is not constant", in)
		return
	}
	addr := v.rip(in, m)
	if !v.inStack(addr, v.xsize) || addr%64 != 0 || addr != uint64(v.stub.Sealed.X) {
		v.find(in.off, "%v: extended state from %#x instead of %#x", in, addr, uint64(v.stub.Sealed.X))
	}
	lo, hi := s.regs[regRAX], s.regs[regRDX]
	if lo != v.constant(v.features&0xffffffff) || hi != v.constant(v.features>>32) {
		v.find(in.off, "%v: other components than this CPU's", in)
	}
	s.mem[addr] = stored{v.term(term{kind: initial, c: addr}), 0} // that it was done
}
