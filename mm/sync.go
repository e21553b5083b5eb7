package mm

import "goskas/arch"

// step is one call that Sync is about to make.
type step struct {
	addr  arch.Addr
	pte   PTE // as it was
	unmap bool
}

// syncSteps is how many calls Sync collects before it makes them.
const syncSteps = 64

// Sync walks the dirty range and turns every entry that needs it into a call of
// m: a mapping with the rights that the host may grant, or the removal of one.
// (UML: um_tlb_sync.) An entry counts as done when m has accepted it; on an
// error the rest stays for the next Sync. The lock is not held while m runs: a
// queue that runs a batch in between may be asked what the table grants.
//
// It tells of each page at most once, also if other goroutines change the table
// meanwhile: a change behind the walk is for the next Sync. Of the two states of
// a page that one batch would have, a stub could choose.
//
// Only one Sync may be under way: the mm's turnstile sees to that.
func (t *Table) Sync(m Mapper) error { return t.sync(m, false) }

// SyncAll is Sync, and repeats everything that the host has not proved to have
// given up.
func (t *Table) SyncAll(m Mapper) error { return t.sync(m, true) }

func (t *Table) sync(m Mapper, all bool) error {
	at, end := t.begin(all)
	var buf [syncSteps]step
	for at < end {
		steps, next := t.collect(buf[:0], at, end)
		for i, s := range steps {
			var err error
			if s.unmap {
				err = m.Unmap(s.addr, arch.PageSize)
			} else {
				err = m.Map(s.addr, arch.PageSize, s.pte.Host(), s.pte.PFN())
			}
			if err != nil {
				t.uncollect(steps[i:], next, end)
				return err
			}
		}
		at = next
	}
	return nil
}

// collect finds the next steps in a range, notes in the entries what the host
// will have, and tells from where on to look for more.
func (t *Table) collect(steps []step, from, end arch.Addr) (_ []step, next arch.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = end
	t.each(from, end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.NeedSync() {
			return true
		}
		if len(steps) == cap(steps) {
			next = a
			return false
		}
		switch {
		case p.Present():
			// Also one without any right, as in UML.
			if p&pteStale != 0 {
				t.changed(a)
			}
			steps = append(steps, step{addr: a, pte: p})
			l.set(i, p&^(pteNeedSync|pteStale)|pteHost)
		case p&pteHost != 0:
			t.changed(a)
			steps = append(steps, step{addr: a, pte: p, unmap: true})
			l.set(i, 0)
		default:
			l.set(i, 0)
		}
		return true
	})
	return steps, next
}

// uncollect puts steps that m did not take back, and the range that has not been
// looked at: whatever the entries say by now, the host may have what it had.
func (t *Table) uncollect(steps []step, next, end arch.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next < end {
		t.mark(next, end)
	}
	for _, s := range steps {
		l, i := t.leafFor(s.addr), index(s.addr, 0)
		l.set(i, (l.ptes[i] | pteNeedSync).over(s.pte))
		t.mark(s.addr, s.addr+arch.PageSize)
	}
}

// MarkAllNeedSync makes the next Sync say everything again, for a host that
// has forgotten all mappings.
func (t *Table) MarkAllNeedSync() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(0, t.end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i] &^ (pteHost | pteStale)
		if !p.Present() {
			l.set(i, 0)
			return true
		}
		l.set(i, p|pteNeedSync)
		t.mark(a, a+arch.PageSize)
		return true
	})
}
