package amd64

import (
	"fmt"
	"slices"

	"goskas/internal/bpf"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// checkBlocks runs every instruction from every place at which code can be
// entered, with nothing known there: the rules of memory hold on all paths. And
// whoever comes to a call or to the way out has the registers for it.
func (v *verifier) checkBlocks() {
	reached := make(map[int]bool)
	for _, off := range v.leaders {
		v.walk(off, v.start(), nil, nil, func(o outcome) {
			for _, p := range o.path {
				reached[p] = true
			}
			if o.how == "iretq" {
				v.checkIretq(o)
			}
			if _, isSite := v.numbers()[o.how]; isSite && len(o.path) > 1 {
				v.checkSite(o)
			}
		})
	}
	v.checked("memory: constant places in the stub's own pages, and entries of the batch with a bounded index, all aligned; nothing is written elsewhere")
	v.checked("the stack pointer only gets constant places on the signal stack; iretq only behind that")
}

// checkSite: the code itself comes to a site only with a call that the filter
// allows there. What is not constant must not matter to it, but for the mapping
// calls, which are the entry's.
func (v *verifier) checkSite(o outcome) {
	number := v.numbers()[o.how]
	if o.regs[regRAX] != v.constant(number) {
		v.find(o.off, "site %s is reached with another call's number", o.how)
	}
	if o.how == "mmap" || o.how == "munmap" || o.how == "die" {
		return
	}
	d := bpf.Data{NR: uint32(number), Arch: unix.AUDIT_ARCH_X86_64, IP: uint64(v.lay.Code) + uint64(o.off) + 2}
	for i, r := range []int{regRDI, regRSI, regRDX, regR10, regR8, regR9} {
		d.Args[i] = ^uint64(0)
		if t := o.regs[r]; t.kind == constant {
			d.Args[i] = t.c
		}
	}
	if got, err := bpf.Run(v.filter, &d); err != nil || got != bpf.Allow {
		v.find(o.off, "site %s is reached with a call to which the filter says %v", o.how, got)
	}
	if from, isBase := map[string]uint64{"set-fs": stubabi.OffSealedNewFS, "set-gs": stubabi.OffSealedNewGS}[o.how]; isBase &&
		!v.isData(o.regs[regRSI], from, 8) {
		v.find(o.off, "site %s is reached with something else than the monitor's base", o.how)
	}
}

// isData reports a look at a word of the data page.
func (v *verifier) isData(t *term, off uint64, size int) bool {
	return t.kind == load && t.a == nil && t.c == uint64(v.lay.Data)+off && t.size == size
}

func (v *verifier) checkIretq(o outcome) {
	sp := o.regs[regRSP]
	if sp.kind != constant || !v.inStack(sp.c, iretWords*8) {
		v.find(o.off, "iretq while the stack pointer is not, on every way to here, a constant place on the signal stack")
	}
}

// iretWords is what iretq takes off the stack: rip, cs, flags, rsp, ss.
const iretWords = 5

// checkMapping: right behind a mapping call the stub dies unless the call was
// one of the live batch's, and does nothing else before it knows that. Then it
// goes on with the next entry.
func (v *verifier) checkMapping() {
	v.batch = make(map[string]*state)
	var loops []int
	for _, off := range v.leaders {
		if v.isLoop(off) {
			loops = append(loops, off)
		}
	}
	if len(loops) != 1 {
		v.find(0, "%d loops over the entries of a batch", len(loops))
		return
	}
	loop := loops[0]
	v.checkCall("mmap", stubabi.Mmap, loop)
	v.checkCall("munmap", stubabi.Munmap, loop)
	v.checkLoop(loop)
	v.checkRan(loop)
}

// checkCall follows the code from a mapping call to the next entry.
func (v *verifier) checkCall(name string, kind stubabi.Kind, loop int) {
	past := v.must("past-" + name)
	s := v.start()
	v.called(s)
	result, index := s.regs[regRAX], s.regs[regRBX]
	next := v.term(term{kind: low, a: v.term(term{kind: plus, a: index, c: 1, size: 4})})
	ends := 0
	v.walk(past, s, []int{loop}, nil, func(o outcome) {
		ends++
		if missing := v.missing(o.state, kind, result); missing != "" {
			v.find(past, "behind site %s: the way to %#x does not die unless %s", name, o.off, missing)
		}
		if slices.ContainsFunc(o.facts, func(f fact) bool { return f.rel == ne || f.rel == notBelow }) {
			v.find(past, "behind site %s: the way to %#x goes on from a comparison that failed", name, o.off)
		}
		switch {
		case o.how != "stop":
			v.find(past, "behind site %s the code goes to %s at %#x instead of the next entry", name, o.how, o.off)
		case o.regs[regRBX] != next:
			v.find(past, "behind site %s the index does not grow by one", name)
		case o.wrote:
			v.find(past, "behind site %s something is written before the next entry", name)
		}
	})
	if ends == 0 {
		v.find(past, "behind site %s the stub always dies", name)
	}
	v.checked("site %s: result, even number, index, address, length%s, kind, same number; every mismatch dies, and nothing comes before", name,
		map[stubabi.Kind]string{stubabi.Mmap: ", protection, offset"}[kind])
}

// missing says what a path behind a mapping call has not made sure of.
func (v *verifier) missing(s *state, kind stubabi.Kind, result *term) string {
	reg := func(n int) *term { return v.term(term{kind: initial, c: uint64(n)}) }
	want := v.constant(0)
	if kind == stubabi.Mmap {
		want = reg(regRDI)
	}
	if !s.holds(fact{eq, result, want, 8}) {
		return "the call has done what it was asked for"
	}
	index := reg(regRBX)
	if !v.belowLen(s, index) {
		return "the index is below the batch's length"
	}
	entry := v.term(term{kind: pointer, c: uint64(v.lay.Control) + stubabi.OffControlEntries,
		a: v.term(term{kind: scaled, c: stubabi.SealedEntryShift, a: v.term(term{kind: low, a: index})})})
	first, last := 1<<30, 0 // looks at the batch
	for _, f := range s.facts {
		for _, t := range []*term{f.a, f.b} {
			if t.kind == load && (t.a == entry || v.isControl(t, stubabi.OffControlLen)) {
				first, last = min(first, t.n), max(last, t.n)
			}
		}
	}
	fields := []struct {
		what string
		off  uint64
		size int
		t    *term
	}{
		{"address", stubabi.OffSealedAddr, 8, reg(regRDI)},
		{"length", stubabi.OffSealedLength, 8, reg(regRSI)},
		{"kind", stubabi.OffSealedKind, 4, v.constant(uint64(kind))},
		// The filter has seen that the upper half is 0.
		{"protection", stubabi.OffSealedProt, 4, reg(regRDX)},
		{"offset", stubabi.OffSealedOffset, 8, reg(regR9)},
	}
	if kind == stubabi.Munmap {
		fields = fields[:3]
	}
	for _, c := range fields {
		if !slices.ContainsFunc(s.facts, func(f fact) bool {
			l := f.a
			if l.kind != load {
				l = f.b
			}
			return f.rel == eq && f.size == c.size && (f.a == c.t || f.b == c.t) &&
				l.kind == load && l.a == entry && l.c == c.off && l.size == c.size
		}) {
			return "the entry's " + c.what + " is the call's"
		}
	}
	// The sequence number was even before the first look at the batch, and
	// the same after the last.
	for _, f := range s.facts {
		if f.rel != eq || f.size != 4 || !v.isControl(f.a, stubabi.OffControlSeq) || !v.isControl(f.b, stubabi.OffControlSeq) {
			continue
		}
		before, after := f.a, f.b
		if before.n > after.n {
			before, after = after, before
		}
		odd := v.term(term{kind: masked, a: before, c: 1, size: 4})
		if before.n < first && after.n > last && s.holds(fact{eq, odd, v.constant(0), 4}) {
			return ""
		}
	}
	return "the sequence number was even and has not changed"
}

// isLoop reports the head of the loop: a comparison of the index with the
// batch's length.
func (v *verifier) isLoop(off int) bool {
	at := v.at[off]
	if at+1 >= len(v.insns) || !isJcc(v.insns[at+1].Op) || v.insns[at].Op != x86asm.CMP {
		return false
	}
	s := v.start()
	v.step(v.insns[at], s)
	f := s.flags
	return f != nil && f.size == 4 && f.a == s.regs[regRBX] && v.isControl(f.b, stubabi.OffControlLen)
}

// checkLoop: from its head the loop makes exactly the call of the entry, or
// leaves when all have been made.
func (v *verifier) checkLoop(loop int) {
	start := v.start()
	index := start.regs[regRBX]
	entryField := func(t *term, off uint64, size int) bool {
		return t.kind == load && t.a != nil && t.a.kind == pointer && t.a.a.a.a == index && t.c == off && t.size == size
	}
	v.walk(loop, start, nil, nil, func(o outcome) {
		if o.how != "mmap" && o.how != "munmap" {
			if !slices.ContainsFunc(o.facts, func(f fact) bool {
				return f.rel == notBelow && f.size == 4 && f.a == index && v.isControl(f.b, stubabi.OffControlLen)
			}) {
				v.find(loop, "the way to %s at %#x leaves entries of the batch undone", o.how, o.off)
			}
			return
		}
		r := &o.regs
		isMmap := slices.ContainsFunc(o.facts, func(f fact) bool {
			return entryField(f.a, stubabi.OffSealedKind, 4) && f.b == v.constant(uint64(stubabi.Mmap)) && f.rel == eq
		})
		ok := r[regRBX] == index && entryField(r[regRDI], stubabi.OffSealedAddr, 8) &&
			entryField(r[regRSI], stubabi.OffSealedLength, 8) && isMmap == (o.how == "mmap")
		if o.how == "mmap" {
			ok = ok && entryField(r[regRDX], stubabi.OffSealedProt, 4) && entryField(r[regR9], stubabi.OffSealedOffset, 8) &&
				r[regR10].kind == constant && r[regR8].kind == constant
		}
		if !ok {
			v.find(o.off, "site %s is reached with something else than the entry's call", o.how)
		}
		v.batch[o.how] = o.state
	})
	for _, name := range []string{"mmap", "munmap"} {
		if v.batch[name] == nil {
			v.find(v.must("site-"+name), "no entry leads to site %s", name)
		}
	}
	// Whoever is woken from the wait comes to the loop with the first entry.
	wait := v.must("site-wait")
	s := v.start()
	v.called(s)
	again := false
	v.walk(v.must("past-wait"), s, []int{loop}, nil, func(o outcome) {
		switch {
		case o.how == "wait":
			again = true
		case o.how != "stop":
			v.find(wait, "from the wait the code goes to %s at %#x instead of the batch", o.how, o.off)
		case o.regs[regRBX] != v.constant(0):
			v.find(wait, "from the wait the batch does not begin with its first entry")
		case !v.sees(o.state, eq, stubabi.OffSealedFutex, uint64(stubabi.InChild)):
			v.find(wait, "from the wait the code goes on without the word")
		}
	})
	if !again {
		v.find(wait, "from the wait there is no way back to it")
	}
	v.checked("whoever leaves the wait runs every entry of the batch before anything else")
}

// sees reports that a path depends on a word of the data page.
func (v *verifier) sees(s *state, rel relation, off, value uint64) bool {
	return slices.ContainsFunc(s.facts, func(f fact) bool {
		return f.rel == rel && f.size == 4 && v.isData(f.a, off, 4) && f.b == v.constant(value)
	})
}

// checkDie: nothing follows.
func (v *verifier) checkDie() {
	at := v.at[v.must("die")]
	var ops string
	for _, in := range v.insns[at:min(at+3, len(v.insns))] {
		ops += fmt.Sprintf("%v;", in.Op)
	}
	if ops != "MOV;SYSCALL;UD2;" || v.insns[at].Args[0] != x86asm.EAX || v.insns[at].Args[1] != x86asm.Imm(unix.SYS_EXIT_GROUP) {
		v.find(v.must("die"), "die is not: the call that kills, and an undefined instruction")
	}
	v.checked("die makes a call that the filter kills for, and cannot go on")
}
