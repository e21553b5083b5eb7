package mm

import "goskas/arch"

// Sync walks the dirty range and turns every entry that needs it into a call of
// m: a mapping with the rights that the host may grant, or the removal of one.
// (UML: um_tlb_sync.) An entry counts as done when m has accepted it; on an
// error the rest stays for the next Sync.
func (t *Table) Sync(m Mapper) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lo == t.hi {
		return nil
	}
	var err error
	t.each(t.lo, t.hi, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.NeedSync() {
			return true
		}
		if err = t.syncPage(m, a, l, i, p); err != nil {
			t.lo = a
			return false
		}
		return true
	})
	if err == nil {
		t.lo, t.hi = 0, 0
	}
	return err
}

func (t *Table) syncPage(m Mapper, a arch.Addr, l *leaf, i int, p PTE) error {
	if acc := p.Host(); acc != 0 {
		if err := m.Map(a, arch.PageSize, acc, p.PFN()); err != nil {
			return err
		}
		l.set(i, p&^pteNeedSync|pteHost)
		return nil
	}
	if p&pteHost != 0 {
		if err := m.Unmap(a, arch.PageSize); err != nil {
			return err
		}
	}
	if !p.Present() {
		l.set(i, 0)
		return nil
	}
	l.set(i, p&^(pteNeedSync|pteHost))
	return nil
}

// MarkAllNeedSync makes the next Sync say everything again, for a host that
// has forgotten all mappings.
func (t *Table) MarkAllNeedSync() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(0, t.end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i] &^ pteHost
		if !p.Present() {
			l.set(i, 0)
			return true
		}
		l.set(i, p|pteNeedSync)
		t.mark(a, a+arch.PageSize)
		return true
	})
}
