package amd64

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// term is a symbolic value. Terms are interned: equal ones are one pointer.
type term struct {
	kind termKind
	a    *term
	c    uint64 // constant, address, register or mask
	size int    // of a load or an operation, bytes
	n    int    // serial number of what may differ each time
}

type termKind uint8

const (
	unknown  termKind = iota
	initial           // what register c held at the start
	constant          // c
	load              // size bytes at the constant address c, or at c bytes into the entry a; the n-th look at memory that others write
	low               // the lower 32 bits of a
	masked            // size bytes of a & c
	plus              // size bytes of a + c
	minus             // a - c, 8 bytes
	scaled            // a << c, where a has 32 bits
	pointer           // c + a, where a is scaled
	segment           // the segment base that the operation c reads
)

func (v *verifier) term(t term) *term {
	if old := v.terms[t]; old != nil {
		return old
	}
	v.terms[t] = &t
	return &t
}

func (v *verifier) constant(c uint64) *term { return v.term(term{kind: constant, c: c}) }

// relation is what a branch tells.
type relation uint8

const (
	eq relation = iota
	ne
	below
	notBelow
)

// fact is a relation between size bytes of two values that holds on a path.
type fact struct {
	rel  relation
	a, b *term
	size int
}

// state is what is known at a place on a path.
type state struct {
	regs  [numRegs]*term
	mem   map[uint64]stored // by address
	facts []fact
	flags *fact // what the flags were last set from; rel does not count
	looks int   // at memory that others write
	wrote bool  // anything at all
	path  []int // offsets of the instructions so far
}

type stored struct {
	value *term
	size  int
}

func (s *state) clone() *state {
	c := *s
	c.mem = make(map[uint64]stored, len(s.mem))
	for a, w := range s.mem {
		c.mem[a] = w
	}
	c.facts, c.path = slices.Clip(s.facts), slices.Clip(s.path)
	return &c
}

func (s *state) holds(f fact) bool {
	swapped := fact{f.rel, f.b, f.a, f.size}
	return slices.Contains(s.facts, f) || (f.rel == eq || f.rel == ne) && slices.Contains(s.facts, swapped)
}

// start is the state of which nothing is known but that registers hold
// something.
func (v *verifier) start() *state {
	s := &state{mem: make(map[uint64]stored)}
	for i := range s.regs {
		s.regs[i] = v.term(term{kind: initial, c: uint64(i)})
	}
	return s
}

// called is the state behind a system call: arguments stay, rax is the result,
// rcx and r11 are lost.
func (v *verifier) called(s *state) {
	for _, r := range []int{regRAX, regRCX, regR11} {
		s.looks++
		s.regs[r] = v.term(term{kind: unknown, n: s.looks})
	}
	s.flags = nil
}

// relations are what a conditional jump tells if it is taken, and if not.
func relations(op x86asm.Op) (yes, no relation) {
	switch op {
	case x86asm.JE:
		return eq, ne
	case x86asm.JNE:
		return ne, eq
	case x86asm.JB:
		return below, notBelow
	}
	return notBelow, below
}

// learn notes what a branch tells. The result is false if that cannot be, given
// what the path knows.
func (v *verifier) learn(s *state, r relation) bool {
	if s.flags == nil {
		return true
	}
	f := fact{r, s.flags.a, s.flags.b, s.flags.size}
	if f.size == 4 {
		f.a, f.b = bare(f.a), bare(f.b)
	}
	opposite := f
	opposite.rel = map[relation]relation{eq: ne, ne: eq, below: notBelow, notBelow: below}[r]
	if s.holds(opposite) {
		return false
	}
	s.facts = append(s.facts, f)
	return true
}

// bare is a value whose lower half is that of t.
func bare(t *term) *term {
	if t.kind == low {
		return t.a
	}
	return t
}

// lower is the lower half of a value, the upper one clear.
func (v *verifier) lower(t *term) *term { return v.term(term{kind: low, a: bare(t)}) }
