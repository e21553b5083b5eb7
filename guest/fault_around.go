package guest

import (
	"goskas/arch"
	"goskas/physmem"
)

// aroundSize is the window, aligned, of which a fault brings in all pages that
// it can: that of Linux (fault_around_bytes, mm/memory.c).
const aroundSize = 64 << 10

// fillAround maps the pages of a file around one that is read: those that the
// cache has, and, read ahead into adjacent frames, those that it has not, so
// that few calls of the stub map them all. It reports whether that has brought
// in the page itself.
func (s *Space) fillAround(v *vma, page arch.Addr) bool {
	window := page &^ (aroundSize - 1)
	a, end := max(v.start, window), min(v.end, window+aroundSize)
	// Behind its end a file may have pages that nobody shall see.
	last := v.file.content.Pages() - v.filePage(a)
	if last <= 0 {
		return false
	}
	end = min(end, a+arch.Addr(min(last, int64(aroundSize)))*arch.PageSize)
	for a < end {
		n := 1
		if !s.table().Lookup(a).Present() {
			if n = s.fillCached(v, a, end); n == 0 {
				break
			}
		}
		a += arch.Addr(n) * arch.PageSize
	}
	return s.table().Lookup(page).Present()
}

// fillCached maps the page at a, which is absent, and those behind it that are not
// in memory like it, as far as the file goes. It returns their number.
func (s *Space) fillCached(v *vma, a, end arch.Addr) int {
	n := v.filePage(a)
	if pfn, ok := v.file.object.Cached(n); ok {
		s.mapAround(v, a, pfn)
		return 1
	}
	absent := 1
	for at := a + arch.PageSize; at < end; at += arch.PageSize {
		if s.table().Lookup(at).Present() || v.file.object.Has(v.filePage(at)) {
			break
		}
		absent++
	}
	first, got := v.file.content.ReadAhead(n, absent)
	for i := range got {
		s.mapAround(v, a+arch.Addr(i)*arch.PageSize, first+physmem.PFN(i))
	}
	return got
}

// mapAround maps a page that others may have, too.
func (s *Space) mapAround(v *vma, a arch.Addr, pfn physmem.PFN) {
	s.k.stats.FilesAround++
	if err := s.table().MapShared(a, pfn, v.acc); err != nil {
		panic("BUG: a VMA outside the page table: " + err.Error())
	}
}
