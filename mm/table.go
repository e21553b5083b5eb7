package mm

import (
	"fmt"
	"sync"

	"goskas/arch"
	"goskas/physmem"
)

// Mapper takes the host mapping calls that bring an address space in line with
// its table; *syscallq.Queue is one.
type Mapper interface {
	Map(a arch.Addr, length uint64, acc arch.Access, pfn physmem.PFN) error
	Unmap(a arch.Addr, length uint64) error
}

// Pager brings in a page that an access needs, or refuses. It is the guest's
// page fault handler.
type Pager interface {
	PageIn(a arch.Addr, acc arch.Access) error
}

// Table is the page table of one guest address space. Its methods may be called
// from any goroutine.
type Table struct {
	mem *physmem.Memory
	end arch.Addr

	mu    sync.Mutex
	pager Pager
	root  node
	pages int // present entries
	// The dirty range: every entry with needsync lies in [lo, hi).
	lo, hi arch.Addr
	limbo  limbo
	// The last leaf that was found: accesses come in runs.
	lastLeaf *leaf
	lastKey  arch.Addr
	// leaves counts the lowest-level tables; at pruneAt the empty ones are
	// given up, or a guest that maps and unmaps all over its space would
	// grow the monitor without end.
	leaves, pruneAt int
}

// New makes an empty table for [0, end) over frames of mem.
func New(mem *physmem.Memory, end arch.Addr) *Table {
	return &Table{mem: mem, end: end, pruneAt: minLeaves}
}

// SetPager says who brings in pages that CopyIn and CopyOut miss.
func (t *Table) SetPager(p Pager) {
	t.mu.Lock()
	t.pager = p
	t.mu.Unlock()
}

// End is the end of the address space.
func (t *Table) End() arch.Addr { return t.end }

// Pages is the number of present pages.
func (t *Table) Pages() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pages
}

// Lookup returns a's entry; zero if there is none.
func (t *Table) Lookup(a arch.Addr) PTE {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a >= t.end {
		return 0
	}
	if p := t.lookup(a); p != nil {
		return *p
	}
	return 0
}

// Grants reports whether the page at a maps exactly the frame pfn and lets the
// host grant at least acc.
func (t *Table) Grants(a arch.Addr, pfn physmem.PFN, acc arch.Access) bool {
	p := t.Lookup(a)
	return p.Present() && p.PFN() == pfn && acc&^p.Host() == 0
}

// mark adds [start, end) to the dirty range.
func (t *Table) mark(start, end arch.Addr) {
	if t.lo == t.hi {
		t.lo, t.hi = start, end
		return
	}
	t.lo, t.hi = min(t.lo, start), max(t.hi, end)
}

// check panics on a range that no caller may ask for: addresses from a guest
// have been checked against End by whoever took them.
func (t *Table) check(start, end arch.Addr) {
	if start > end || end > t.end || start.PageOffset() != 0 || end.PageOffset() != 0 {
		panic(fmt.Sprintf("BUG: page range %#x-%#x", uint64(start), uint64(end)))
	}
}

// Map puts a frame at a page and takes over one reference to it. What was there
// is dropped.
func (t *Table) Map(a arch.Addr, pfn physmem.PFN, acc arch.Access) error {
	return t.mapPage(a, makePTE(pfn, acc))
}

// MapShared is Map for a frame that others may hold too: a write will copy it
// first.
func (t *Table) MapShared(a arch.Addr, pfn physmem.PFN, acc arch.Access) error {
	return t.mapPage(a, makePTE(pfn, acc)|pteCOW)
}

func (t *Table) mapPage(a arch.Addr, p PTE) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a >= t.end || a.PageOffset() != 0 {
		return &Fault{Addr: a, Access: p.Access()}
	}
	l, i := t.leafFor(a), index(a, 0)
	t.drop(l.ptes[i])
	l.set(i, p.over(l.ptes[i]))
	t.pages++
	t.mark(a, a+arch.PageSize)
	return nil
}

// drop gives back the frame of an entry that is about to be overwritten.
func (t *Table) drop(p PTE) {
	if p.Present() {
		t.release(p)
		t.pages--
	}
}

// Unmap takes all pages of a range away.
func (t *Table) Unmap(start, end arch.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check(start, end)
	t.unmap(start, end)
}

func (t *Table) unmap(start, end arch.Addr) {
	t.each(start, end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.Present() {
			return true
		}
		t.drop(p)
		if p&pteHost == 0 {
			l.set(i, 0)
			return true
		}
		l.set(i, pteNeedSync.over(p))
		t.mark(a, a+arch.PageSize)
		return true
	})
}

// Protect sets the rights of the present pages of a range. A frame that is
// shared copy-on-write stays so, whatever the new rights.
func (t *Table) Protect(start, end arch.Addr, acc arch.Access) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check(start, end)
	t.each(start, end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.Present() {
			return true
		}
		q := p.withAccess(acc)
		if acc&arch.Write != 0 {
			q |= pteDirty
		}
		if q.Host() != p.Host() {
			q = q.after(p) | pteNeedSync
			t.mark(a, a+arch.PageSize)
		}
		l.set(i, q)
		return true
	})
}

// CopyOnWrite shares the present pages of a range with dst, at the same
// addresses: from then on the first write to a page, on either side, copies its
// frame. dst must have nothing there.
func (t *Table) CopyOnWrite(dst *Table, start, end arch.Addr) error {
	return t.share(dst, start, end, pteCOW)
}

// Share gives dst the present pages of a range for good: both see each other's
// writes (MAP_SHARED across a fork).
func (t *Table) Share(dst *Table, start, end arch.Addr) error {
	return t.share(dst, start, end, 0)
}

func (t *Table) share(dst *Table, start, end arch.Addr, cow PTE) error {
	// Two tables are only ever locked parent first, and a new child has no
	// children of its own yet.
	t.mu.Lock()
	defer t.mu.Unlock()
	dst.mu.Lock()
	defer dst.mu.Unlock()
	t.check(start, end)
	if end > dst.end {
		return &Fault{Addr: end}
	}
	t.each(start, end, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.Present() {
			return true
		}
		q := p | cow
		if q.Host() != p.Host() {
			q = q.after(p) | pteNeedSync
			t.mark(a, a+arch.PageSize)
		}
		l.set(i, q)
		t.mem.Ref(p.PFN())
		dl, di := dst.leafFor(a), index(a, 0)
		dst.drop(dl.ptes[di])
		dl.set(di, (q&^pteMoved | pteNeedSync).over(dl.ptes[di]))
		dst.pages++
		dst.mark(a, a+arch.PageSize)
		return true
	})
	return nil
}

// Alloc takes a frame for the page at a, which is not present: one that continues
// a neighbour's on the host, if that can be had.
func (t *Table) Alloc(a arch.Addr) (physmem.PFN, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.alloc(a.PageDown())
}

func (t *Table) alloc(a arch.Addr) (physmem.PFN, error) {
	below, above := physmem.None, physmem.None
	if a >= arch.PageSize {
		if p := t.lookup(a - arch.PageSize); p != nil && p.Present() {
			below = p.PFN()
		}
	}
	if a+arch.PageSize < t.end {
		if p := t.lookup(a + arch.PageSize); p != nil && p.Present() {
			above = p.PFN()
		}
	}
	return t.mem.AllocNear(below, above)
}

// BreakCOW gives the page at a a frame of its own, so that it can be written:
// the shared frame itself if nobody else has it any more.
func (t *Table) BreakCOW(a arch.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	a = a.PageDown()
	if a >= t.end {
		return &Fault{Addr: a, Access: arch.Write}
	}
	p := t.lookup(a)
	if p == nil || !p.Present() {
		return &Fault{Addr: a, Access: arch.Write}
	}
	if p.COW() && t.mem.Refs(p.PFN()) > 1 {
		pfn, err := t.alloc(a)
		if err != nil {
			return err
		}
		copy(t.mem.Bytes(pfn), t.mem.Bytes(p.PFN()))
		t.release(*p)
		*p = (*p&(1<<pfnShift-1) | PTE(pfn)<<pfnShift).over(*p)
	}
	*p = *p&^pteCOW | pteYoung | pteDirty | pteNeedSync
	t.mark(a, a+arch.PageSize)
	return nil
}

// Touch notes an access to a present page, so that the host's mapping grants
// it.
func (t *Table) Touch(a arch.Addr, acc arch.Access) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a = a.PageDown()
	if a >= t.end {
		return
	}
	p := t.lookup(a)
	if p == nil || !p.Present() {
		return
	}
	*p |= pteYoung | pteNeedSync
	if acc&arch.Write != 0 {
		*p |= pteDirty
	}
	t.mark(a, a+arch.PageSize)
}

// Move takes the pages of [from, from+length) to another, disjoint place, as
// mremap does. What was there is dropped.
func (t *Table) Move(from, to arch.Addr, length uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := arch.Addr(length)
	t.check(from, from+n)
	t.check(to, to+n)
	if from < to+n && to < from+n {
		panic(fmt.Sprintf("BUG: move %#x to %#x overlaps", uint64(from), uint64(to)))
	}
	t.unmap(to, to+n)
	t.each(from, from+n, func(a arch.Addr, l *leaf, i int) bool {
		p := l.ptes[i]
		if !p.Present() {
			return true
		}
		l.set(i, 0)
		if p&pteHost != 0 {
			l.set(i, pteNeedSync.over(p))
			t.mark(a, a+arch.PageSize)
		}
		b := to + (a - from)
		dl, di := t.leafFor(b), index(b, 0)
		if p&pteHost != 0 {
			p |= pteMoved
		}
		dl.set(di, (p | pteNeedSync).over(dl.ptes[di]))
		t.mark(b, b+arch.PageSize)
		return true
	})
	return nil
}

// Each calls fn for the present pages of a range, in order, until it returns
// false. fn must not call the table.
func (t *Table) Each(start, end arch.Addr, fn func(a arch.Addr, p PTE) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check(start, end)
	t.each(start, end, func(a arch.Addr, l *leaf, i int) bool {
		return !l.ptes[i].Present() || fn(a, l.ptes[i])
	})
}

// Destroy drops every page. The table is empty afterwards.
func (t *Table) Destroy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limbo.end(t.mem)
	t.each(0, t.end, func(_ arch.Addr, l *leaf, i int) bool {
		t.drop(l.ptes[i])
		return true
	})
	t.root = node{}
	t.leaves, t.pruneAt = 0, minLeaves
	t.lastLeaf = nil
	t.lo, t.hi = 0, 0
}
