package mm

import (
	"goskas/arch"
	"goskas/physmem"
)

// limbo holds what an address space has lost while its stub may still have it:
// a stub that only claims to have stopped goes on with its old mappings. It is
// empty until HoldRevoked, and guarded by the table's lock.
//
// Time is counted in rounds, one a Sync. A frame that is lost in one round is
// taken away from the host by the next, at the latest; what a round takes away
// is gone when it is proved that the stub has run all of its batches. A later
// round can be the proof for earlier ones if it repeats the state of the pages
// concerned, whatever that is by then.
type limbo struct {
	on       bool
	round    uint64
	complete bool        // this round repeats all of pages as it found them
	repeated bool        // and these were some
	frames   []heldFrame // in the order of their rounds
	pages    []arch.Addr // at which rounds without proof have taken something away
}

// heldFrame is a reference that is given back when round is proved.
type heldFrame struct {
	pfn   physmem.PFN
	round uint64
}

// HoldRevoked makes the table keep frames that the host may still map until
// Proved. Call it before the first mapping.
func (t *Table) HoldRevoked() {
	t.mu.Lock()
	t.limbo.on = true
	t.mu.Unlock()
}

// Held is the number of frames that wait for a proof.
func (t *Table) Held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.limbo.frames)
}

// Unproved reports whether a proof would give anything back or end a
// repetition.
func (t *Table) Unproved() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.limbo.frames) > 0 || len(t.limbo.pages) > 0
}

// Proved says that the host has run everything that the last Sync asked for. If
// that has left out what earlier ones took away, nothing follows from it.
func (t *Table) Proved() {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.limbo
	if !l.complete {
		return
	}
	l.pages = l.pages[:0]
	n := 0
	for n < len(l.frames) && l.frames[n].round <= l.round {
		t.mem.Unref(l.frames[n].pfn)
		n++
	}
	l.frames = l.frames[:copy(l.frames, l.frames[n:])]
}

// release gives the frame of p back, or keeps it while the host may map it.
func (t *Table) release(p PTE) {
	if t.limbo.on && p&(pteHost|pteMoved) != 0 {
		t.limbo.frames = append(t.limbo.frames, heldFrame{p.PFN(), t.limbo.round + 1})
		return
	}
	t.mem.Unref(p.PFN())
}

// Dirty reports whether a Sync would have anything to do.
func (t *Table) Dirty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lo != t.hi
}

// repeatAt is how many pages may wait for a proof before rounds repeat them.
// Until then the frames just stay where they are: what a round repeats without
// being proved was for nothing.
const repeatAt = 32

// begin starts a round and takes the dirty range for it. A complete round says
// again what earlier ones have taken away without proof; all do if all is set.
func (t *Table) begin(all bool) (start, end arch.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := &t.limbo; l.on {
		l.round++
		l.complete = all || len(l.pages) == 0 || len(l.pages) >= repeatAt
		l.repeated = l.complete && len(l.pages) > 0
		if l.repeated {
			for _, a := range l.pages {
				t.doubt(a)
			}
			l.pages = l.pages[:0]
		}
	}
	start, end = t.lo, t.hi
	t.lo, t.hi = 0, 0
	return start, end
}

// doubt has the next Sync say what is at a, whatever the host may have there.
func (t *Table) doubt(a arch.Addr) {
	leaf, i := t.leafFor(a), index(a, 0)
	leaf.set(i, leaf.ptes[i]|pteNeedSync|pteHost|pteStale)
	t.mark(a, a+arch.PageSize)
}

// Doubt is for a range of which a Sync has told a Mapper that has not passed it
// on: the next one says anew what is there.
func (t *Table) Doubt(start, end arch.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check(start, end)
	for a := start; a < end; a += arch.PageSize {
		t.doubt(a)
	}
}

// proofAt is how many frames are worth a proof at once: with them back the next
// mappings need no others, which no cache knows.
const proofAt = 4

// WantsProof reports whether a proof of the last Sync is worth some trouble: it has
// repeated something, or would give some frames back.
func (t *Table) WantsProof() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.limbo
	return l.repeated || l.complete && len(l.frames) >= proofAt
}

// changed notes that this round takes something away from what the host has at a.
func (t *Table) changed(a arch.Addr) {
	if t.limbo.on {
		t.limbo.pages = append(t.limbo.pages, a)
	}
}

// end gives everything back: there is no host any more.
func (l *limbo) end(mem *physmem.Memory) {
	for _, f := range l.frames {
		mem.Unref(f.pfn)
	}
	*l = limbo{}
}
