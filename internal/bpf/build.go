package bpf

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Cond is the test of a conditional jump; A is compared with a constant,
// without sign.
type Cond uint16

// The tests that the kernel knows; the others are these with the labels
// swapped.
const (
	Eq  Cond = unix.BPF_JEQ  // A == k
	Gt  Cond = unix.BPF_JGT  // A > k
	Ge  Cond = unix.BPF_JGE  // A >= k
	Set Cond = unix.BPF_JSET // A & k != 0
)

// step is an instruction whose jumps are still names.
type step struct {
	insn    unix.SockFilter
	yes, no string // Next means the instruction behind this one
	note    string
}

// Next stands for the instruction behind a jump.
const Next = ""

// Builder collects a program. Mistakes are kept until Program.
type Builder struct {
	steps  []step
	labels []Label // Index counts steps here
	note   string
	auto   int // number of labels made by helpers
	errs   []error
}

// New starts an empty program.
func New() *Builder { return new(Builder) }

func (b *Builder) fail(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("bpf: at step %d: %s", len(b.steps), fmt.Sprintf(format, args...)))
}

func (b *Builder) add(s step) {
	s.note, b.note = b.note, ""
	b.steps = append(b.steps, s)
}

// Label names the next instruction. Two names for one place are fine.
func (b *Builder) Label(name string) {
	if name == Next {
		b.fail("a label needs a name")
		return
	}
	b.labels = append(b.labels, Label{name, len(b.steps)})
}

// Note is a remark on the next instruction, for Text.
func (b *Builder) Note(text string) { b.note = text }

// Raw appends an instruction that needs no label.
func (b *Builder) Raw(insn unix.SockFilter) { b.add(step{insn: insn}) }

// Load sets A to a word of the system call's data.
func (b *Builder) Load(w Word) {
	b.Raw(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(w)})
}

// And masks A.
func (b *Builder) And(mask uint32) {
	b.Raw(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
}

// Ret ends the program.
func (b *Builder) Ret(a Action) {
	b.Raw(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)})
}

// Goto jumps to a label.
func (b *Builder) Goto(label string) {
	b.add(step{insn: unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA}, yes: label})
}

// Jump goes to yes if A compares with k as c says, else to no.
func (b *Builder) Jump(c Cond, k uint32, yes, no string) {
	b.add(step{insn: unix.SockFilter{Code: unix.BPF_JMP | uint16(c) | unix.BPF_K, K: k}, yes: yes, no: no})
}

// JumpIn goes to the label if A is one of ks, else on.
func (b *Builder) JumpIn(ks []uint32, label string) {
	for _, k := range ks {
		b.Jump(Eq, k, label, Next)
	}
}

// JumpRange goes to yes if lo <= A < end, else to no.
func (b *Builder) JumpRange(lo, end uint32, yes, no string) {
	next := b.fresh(no)
	b.Jump(Ge, lo, Next, next.or(no))
	b.Jump(Ge, end, next.or(no), yes)
	next.place()
}

// JumpWide goes to yes if (field & mask) == v, else to no. It changes A.
func (b *Builder) JumpWide(w Wide, mask, v uint64, yes, no string) {
	if v&^mask != 0 {
		b.fail("%#x has bits outside the mask %#x: the comparison cannot hold", v, mask)
	}
	next := b.fresh(no)
	half := func(at Word, mask, v uint32, yes string) {
		b.Load(at)
		if mask != ^uint32(0) {
			b.And(mask)
		}
		b.Jump(Eq, v, yes, next.or(no))
	}
	if mask>>32 != 0 {
		half(w.Hi(), uint32(mask>>32), uint32(v>>32), Next)
	}
	half(w.Lo(), uint32(mask), uint32(v), yes)
	next.place()
}

// JumpEqual goes to yes if the field is v, else to no. It changes A.
func (b *Builder) JumpEqual(w Wide, v uint64, yes, no string) {
	b.JumpWide(w, ^uint64(0), v, yes, no)
}

// JumpBelow goes to yes if the field is below end, else to no. It changes A.
func (b *Builder) JumpBelow(w Wide, end uint64, yes, no string) {
	yesHere, noHere := b.fresh(yes), b.fresh(no)
	hi := uint32(end >> 32)
	b.Load(w.Hi())
	b.Jump(Gt, hi, noHere.or(no), Next)
	b.Jump(Eq, hi, Next, yesHere.or(yes))
	b.Load(w.Lo())
	b.Jump(Ge, uint32(end), no, yes)
	yesHere.place()
	noHere.place()
}

// JumpInRange goes to yes if lo <= field < end, else to no. It changes A.
func (b *Builder) JumpInRange(w Wide, lo, end uint64, yes, no string) {
	noHere := b.fresh(no)
	b.JumpBelow(w, lo, noHere.or(no), Next)
	b.JumpBelow(w, end, yes, no)
	noHere.place()
}

// here is what Next means inside a helper of several instructions: the place
// behind all of them.
type here struct {
	b    *Builder
	name string
}

func (b *Builder) fresh(label string) *here {
	if label != Next {
		return &here{}
	}
	b.auto++
	return &here{b, fmt.Sprintf(".%d", b.auto)}
}

// or is the label itself, or the name that stands for Next.
func (h *here) or(label string) string {
	if label == Next {
		return h.name
	}
	return label
}

func (h *here) place() {
	if h.b != nil {
		h.b.Label(h.name)
	}
}

const maxOffset = 255 // of a conditional jump

// Program lays the instructions out. A conditional jump to a place that eight
// bits do not reach gets an unconditional one behind it. The result has passed
// Check.
func (b *Builder) Program() (*Program, error) {
	errs := b.errs
	target := make(map[string]int, len(b.labels)) // in steps
	for _, l := range b.labels {
		if _, dup := target[l.Name]; dup {
			errs = append(errs, fmt.Errorf("bpf: label %q is defined twice", l.Name))
		}
		target[l.Name] = l.Index
	}
	for i, s := range b.steps {
		for _, name := range []string{s.yes, s.no} {
			at, ok := target[name]
			switch {
			case name == Next:
			case !ok:
				errs = append(errs, fmt.Errorf("bpf: at step %d: no label %q", i, name))
			case at <= i:
				errs = append(errs, fmt.Errorf("bpf: at step %d: label %q lies behind; jumps only go forward", i, name))
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return b.layout(target)
}

// layout places the steps. farYes and farNo say which jumps of a step need an
// instruction of their own; a jump that has become far stays so, hence the
// loop ends.
func (b *Builder) layout(target map[string]int) (*Program, error) {
	n := len(b.steps)
	farYes, farNo := make([]bool, n), make([]bool, n)
	at := make([]int, n+1) // where a step begins
	dest := func(i int, name string) int {
		if name == Next {
			return at[i+1]
		}
		return at[target[name]]
	}
	for changed := true; changed; {
		changed = false
		for i := range b.steps {
			at[i+1] = at[i] + 1 + count(farYes[i], farNo[i])
		}
		for i := range b.steps {
			s := &b.steps[i]
			if !s.conditional() {
				continue
			}
			if !farYes[i] && dest(i, s.yes)-at[i]-1 > maxOffset {
				farYes[i], changed = true, true
			}
			if !farNo[i] && dest(i, s.no)-at[i]-1 > maxOffset {
				farNo[i], changed = true, true
			}
		}
	}

	p := &Program{Insns: make([]unix.SockFilter, 0, at[n]), notes: make(map[int]string)}
	for i := range b.steps {
		s := &b.steps[i]
		insn, pos := s.insn, at[i]
		if s.note != "" {
			p.notes[pos] = s.note
		}
		var hops []unix.SockFilter
		branch := func(far bool, name string) uint8 {
			if !far {
				return uint8(dest(i, name) - pos - 1)
			}
			hop := pos + 1 + len(hops)
			hops = append(hops, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(dest(i, name) - hop - 1)})
			return uint8(hop - pos - 1)
		}
		switch {
		case s.conditional():
			insn.Jt = branch(farYes[i], s.yes)
			insn.Jf = branch(farNo[i], s.no)
		case s.yes != Next:
			insn.K = uint32(dest(i, s.yes) - pos - 1)
		}
		p.Insns = append(append(p.Insns, insn), hops...)
	}
	for _, l := range b.labels {
		p.Labels = append(p.Labels, Label{l.Name, at[l.Index]})
	}
	if err := Check(p.Insns); err != nil {
		return nil, err
	}
	return p, nil
}

func (s *step) conditional() bool {
	return s.insn.Code&0x07 == unix.BPF_JMP && s.insn.Code != unix.BPF_JMP|unix.BPF_JA
}

func count(flags ...bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}
