package amd64

import (
	"slices"

	"goskas/arch"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// slot is register i of the signal frame at f.
func (v *verifier) slot(f uint64, i int) *term {
	return v.term(term{kind: load, c: f + ucMCtx + 8*uint64(i), size: 8})
}

// regOf are the numbers of the registers in a signal frame, in its order.
var regOf = func() (n [stubabi.NumSealedRegs]int) {
	for i, r := range frameRegs {
		n[i] = int(r)
	}
	return n
}()

// checkHandler follows a signal. Where the host has put its frame tells whether
// the signal stack was in use. If not, guest code was stopped, and must have
// been outside of the stub: there may be a mapping that nobody has checked. If
// so, and it was a tick, the code goes on exactly where it was, except on the
// last stretch to the guest, which holds no call that would need a check.
func (v *verifier) checkHandler() {
	handler, resume, resumed := v.must("handler"), v.must("resume"), v.must("resumed")
	addr := func(off int) *term { return v.constant(uint64(v.lay.Code) + uint64(off)) }
	for off, name := range v.sites {
		if off >= resume && off < resumed && (name == "mmap" || name == "munmap" || name == "wait") {
			v.find(off, "site %s lies on the last stretch to the guest", name)
		}
	}
	first, all := make(map[uint64]bool), make(map[uint64]bool)
	early, late := make(map[uint64]bool), make(map[uint64]bool) // ways back to before and behind the last stretch
	start := v.start()
	sp, sig := start.regs[regRSP], start.regs[regRDI]
	v.walk(handler, start, nil, nil, func(o outcome) {
		frame, ok := v.equals(o.state, sp)
		if !ok || !v.inStack(frame, frameSize) {
			v.find(handler, "the way to %s at %#x does not depend on where the frame lies", o.how, o.off)
			return
		}
		pc := v.slot(frame, rip)
		switch {
		case frame == v.fresh && o.how == "wake":
			inPage := v.term(term{kind: minus, a: pc, c: uint64(v.lay.Code)})
			if !o.holds(fact{notBelow, inPage, v.constant(arch.PageSize), 8}) {
				v.find(handler, "a signal that stopped guest code inside the stub is reported")
			}
			v.checkReport(o, stubabi.ReportFresh, sig)
			return
		case frame == v.fresh:
			v.find(handler, "a signal that stopped guest code leads to %s at %#x", o.how, o.off)
			return
		case !o.holds(fact{eq, sig, v.constant(uint64(unix.SIGALRM)), 4}):
			v.find(handler, "the way to %s at %#x is open to other signals than a tick", o.how, o.off)
		case !o.holds(fact{notBelow, pc, addr(handler), 8}):
			v.find(handler, "the way to %s at %#x is open to a tick outside of the stub", o.how, o.off)
		}
		all[frame] = true
		switch o.how {
		case "wake":
			first[frame] = true
			if !o.holds(fact{notBelow, pc, addr(resume), 8}) || !o.holds(fact{below, pc, addr(resumed), 8}) {
				v.find(handler, "a tick is reported for the guest although the code was not on its last stretch")
			}
			if o.regs[regRSP] != v.constant(v.fresh) {
				v.find(handler, "a tick on the last stretch leaves the stack pointer at its own frame")
			}
			v.checkReport(o, stubabi.ReportSame, v.constant(uint64(unix.SIGALRM)))
		case "iretq":
			v.checkBack(o, frame)
			early[frame] = early[frame] || !o.holds(fact{notBelow, pc, addr(resume), 8})
			late[frame] = late[frame] || !o.holds(fact{below, pc, addr(resume), 8}) && !o.holds(fact{below, pc, addr(resumed), 8})
		default:
			v.find(handler, "a tick inside the stub leads to %s at %#x", o.how, o.off)
		}
	})
	for frame := range all {
		if !early[frame] || !late[frame] {
			v.find(handler, "no way back from the frame at %#x to all of the code but the last stretch", frame)
		}
	}
	v.checkPlaces(first, all)
	v.checked("signals: guest code stopped inside the stub dies, a tick inside goes back with every register or, on the last stretch, is reported; any other signal inside dies")
}

// equals finds the constant that a path has found a value to be.
func (v *verifier) equals(s *state, t *term) (uint64, bool) {
	for _, f := range s.facts {
		if f.rel == eq && f.size == 8 {
			if f.a == t && f.b.kind == constant {
				return f.b.c, true
			}
			if f.b == t && f.a.kind == constant {
				return f.a.c, true
			}
		}
	}
	return 0, false
}

func (v *verifier) checkReport(o outcome, kind uint64, signal *term) {
	word := func(off uint64) *term {
		size := 4
		if off == stubabi.OffSealedFSBase || off == stubabi.OffSealedGSBase {
			size = 8
		}
		w, written := o.mem[uint64(v.lay.Data)+off]
		if written && w.size != size {
			v.find(o.off, "a report with %d bytes at %#x", w.size, off)
		}
		return w.value
	}
	if s := word(stubabi.OffSealedSignal); s != signal {
		v.find(o.off, "a report with the wrong signal")
	}
	if word(stubabi.OffSealedReport) != v.constant(kind) || word(stubabi.OffSealedFutex) != v.constant(uint64(stubabi.InKern)) {
		v.find(o.off, "a report of the wrong kind, or one that the word does not tell of")
	}
	tick := word(stubabi.OffSealedTick)
	if kind == stubabi.ReportSame && tick != v.constant(0) || kind == stubabi.ReportFresh && tick != nil {
		v.find(o.off, "a tick that is reported is not taken off, or one that is not is")
	}
	fs, gs := word(stubabi.OffSealedFSBase), word(stubabi.OffSealedGSBase)
	bases := fs != nil && fs.kind == segment && fs.c == uint64(x86asm.RDFSBASE) && gs != nil && gs.kind == segment && gs.c == uint64(x86asm.RDGSBASE)
	if kind == stubabi.ReportFresh && bases != v.stub.Sealed.Bases {
		v.find(o.off, "a report with no bases although guest code can change them, or the reverse")
	}
}

// checkBack: the way out of a tick in the stub restores all that the host has
// saved. The extended state is not used by stub code.
func (v *verifier) checkBack(o outcome, frame uint64) {
	sp := o.regs[regRSP].c
	if sp != iretFrame(frame) {
		v.find(o.off, "goes back from the frame at %#x with the stack pointer at %#x", frame, sp)
	}
	for i, want := range []*term{v.slot(frame, rip), v.constant(userCS), v.slot(frame, rflags), v.slot(frame, rsp), v.constant(userSS)} {
		if w := o.mem[sp+8*uint64(i)]; w.value != want || w.size != 8 {
			v.find(o.off, "goes back from the frame at %#x with a wrong word %d for iretq", frame, i)
		}
	}
	for i, r := range regOf {
		if o.regs[r] != v.slot(frame, i) {
			v.find(o.off, "goes back from the frame at %#x with a wrong register %d", frame, r)
		}
	}
	// Only a tick that interrupts no other is noted: that other one has been.
	tick := uint64(v.lay.Data) + stubabi.OffSealedTick
	noted := slices.Contains(sealedFrames{xsize: v.xsize}.nested(v.fresh), frame)
	if w := o.mem[tick]; noted != (w.value == v.constant(1) && w.size == 4) {
		v.find(o.off, "goes back from the frame at %#x without a note of the tick, or with one too many", frame)
	}
	for at := range o.mem {
		if (at < sp || at >= sp+8*iretWords) && at != tick {
			v.find(o.off, "goes back from the frame at %#x with %#x written", frame, at)
		}
	}
}

// checkPlaces: there is a way back from every frame that the host can make for a
// tick in stub code, and for one that comes while that one is handled; and the
// frames do not reach below the signal stack nor into each other.
func (v *verifier) checkPlaces(first, all map[uint64]bool) {
	nested := sealedFrames{xsize: v.xsize}.nested
	for _, f := range nested(v.fresh) {
		if !first[f] {
			v.find(v.must("handler"), "a tick whose frame comes to lie at %#x is not reported", f)
		}
		for _, g := range nested(f) {
			if !all[g] {
				v.find(v.must("handler"), "no way back from a tick whose frame comes to lie at %#x", g)
			}
			if frameXAt(g)+uint64(v.xsize)+4 > iretFrame(f) {
				v.find(v.must("handler"), "the frames at %#x and %#x overlap", g, f)
			}
		}
		if frameXAt(f)+uint64(v.xsize)+4 > iretFrame(v.fresh) {
			v.find(v.must("handler"), "the frames at %#x and %#x overlap", f, v.fresh)
		}
	}
	for f := range all {
		if !v.inStack(f, frameSize) {
			v.find(v.must("handler"), "the frame at %#x is not on the signal stack", f)
		}
	}
}

// checkResume follows the last stretch to the guest.
func (v *verifier) checkResume() {
	resume, resumed := v.must("resume"), v.must("resumed")
	ticks := 0
	var out [2]int // ways to the guest, without and with new bases
	v.walk(resume, v.start(), nil, []string{"set-fs", "set-gs"}, func(o outcome) {
		switch o.how {
		case "wake": // a tick was due
			ticks++
			v.checkReport(o, stubabi.ReportSame, v.constant(uint64(unix.SIGALRM)))
			if !v.sees(o.state, ne, stubabi.OffSealedTick, 0) {
				v.find(o.off, "a tick is reported that was not due")
			}
			return
		case "iretq":
		default:
			v.find(o.off, "the last stretch goes to %s", o.how)
			return
		}
		if o.off+2 != resumed {
			v.find(o.off, "the last stretch does not end with its last instruction")
		}
		if !v.sees(o.state, eq, stubabi.OffSealedTick, 0) {
			v.find(o.off, "returns to the guest without looking for a tick")
		}
		if o.regs[regRSP] != v.constant(uint64(v.stub.Sealed.Return)) || o.wrote {
			v.find(o.off, "returns to the guest from another frame than the monitor's, or changes something")
		}
		for i, r := range regOf {
			if !v.isData(o.regs[r], stubabi.OffSealedRegs+8*uint64(i), 8) {
				v.find(o.off, "returns to the guest with a wrong register %d", r)
			}
		}
		if _, done := o.mem[uint64(v.stub.Sealed.X)]; !done {
			v.find(o.off, "returns to the guest without its extended state")
		}
		out[v.checkBases(o)]++
	})
	if out[0] == 0 || out[1] == 0 || ticks == 0 {
		v.find(resume, "no way to the guest with new bases, none without, or none to the monitor")
	}
	// The only other way to that instruction is from resume itself.
	for _, in := range v.insns {
		if to, ok := target(in); ok && to > resume && to < resumed && (in.off < resume || in.off >= resumed) {
			v.find(in.off, "jumps into the last stretch to the guest")
		}
	}
	v.checked("the last stretch to the guest looks for a tick first, then loads bases, extended state and registers from the monitor's places")
}

// checkBases: the path loads the bases if it is asked to, which the result says
// by 1.
func (v *verifier) checkBases(o outcome) int {
	asked := v.sees(o.state, ne, stubabi.OffSealedSetBases, 0)
	if !asked && !v.sees(o.state, eq, stubabi.OffSealedSetBases, 0) {
		v.find(o.off, "returns to the guest without asking for its bases")
	}
	loads := 0
	for _, off := range o.path {
		op, name := v.insns[v.at[off]].Op, v.sites[off]
		if op == x86asm.WRFSBASE || op == x86asm.WRGSBASE || name == "set-fs" || name == "set-gs" {
			loads++
		}
	}
	if asked {
		if loads != 2 {
			v.find(o.off, "loads %d bases", loads)
		}
		return 1
	}
	if loads != 0 {
		v.find(o.off, "loads bases that it was not asked to")
	}
	return 0
}

// checkRan: a batch that runs alone is reported, another one leads to resume.
func (v *verifier) checkRan(loop int) {
	alone := func(s *state, rel relation) bool {
		return slices.ContainsFunc(s.facts, func(f fact) bool {
			return f.rel == rel && f.size == 4 && v.isControl(f.a, stubabi.OffControlAlone) && f.b == v.constant(0)
		})
	}
	ways := make(map[string]int)
	v.walk(loop, v.start(), []int{v.must("resume")}, nil, func(o outcome) {
		if o.facts[0].rel == below {
			return // an entry is left
		}
		ways[o.how]++
		switch o.how {
		case "stop":
			if !alone(o.state, eq) {
				v.find(o.off, "a batch that was to run alone leads to the guest")
			}
		case "wake":
			if !alone(o.state, ne) {
				v.find(o.off, "a batch is reported that was not to run alone")
			}
			word := func(off uint64) *term { return o.mem[uint64(v.lay.Data)+off].value }
			if word(stubabi.OffSealedReport) != v.constant(stubabi.ReportRan) || word(stubabi.OffSealedFutex) != v.constant(uint64(stubabi.InKern)) {
				v.find(o.off, "a batch that has run alone is reported as something else")
			}
		default:
			v.find(o.off, "behind the batch the code goes to %s", o.how)
		}
	})
	if ways["stop"] == 0 || ways["wake"] == 0 {
		v.find(loop, "behind the batch there is no way to the guest, or none to the monitor")
	}
}
