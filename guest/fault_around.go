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

// fillCached maps the page at a, which is absent, and those behind it that the
// cache lacks like it, as far as the file goes. It returns their number.
func (s *Space) fillCached(v *vma, a, end arch.Addr) int {
	k, offset := s.k, v.fileOffset(a)
	if !v.file.readAhead(offset) {
		return 0
	}
	if pfn, ok := k.memCache.get(k, v.file, offset); ok {
		s.mapAround(v, a, pfn)
		return 1
	}
	n := 1
	for at := a + arch.PageSize; at < end; at += arch.PageSize {
		o := v.fileOffset(at)
		if s.table().Lookup(at).Present() || k.memCache.has(v.file, o) || !v.file.readAhead(o) {
			break
		}
		n++
	}
	first, err := k.mem.AllocContig(n)
	if err != nil {
		return 0
	}
	if err := v.file.read(k.mem.Range(first, n), offset); err != nil {
		for i := range n {
			k.mem.Unref(first + physmem.PFN(i))
		}
		return 0
	}
	for i := range n {
		pfn, at := first+physmem.PFN(i), a+arch.Addr(i)*arch.PageSize
		k.memCache.put(k, v.file, v.fileOffset(at), pfn)
		s.mapAround(v, at, pfn)
	}
	return n
}

// mapAround maps a page that others may have, too.
func (s *Space) mapAround(v *vma, a arch.Addr, pfn physmem.PFN) {
	s.k.stats.FilesAround++
	if err := s.table().MapShared(a, pfn, v.acc); err != nil {
		panic("BUG: a VMA outside the page table: " + err.Error())
	}
}
