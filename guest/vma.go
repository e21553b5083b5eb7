package guest

import (
	"github.com/tidwall/btree"

	"goskas/arch"
	"goskas/physmem"
)

// vma is a range of addresses with one set of rights and one kind of content.
type vma struct {
	start, end arch.Addr
	acc        arch.Access
	// growsDown marks a stack, which faults just below it extend.
	growsDown bool
	// file is what the pages show, nil for zeros. Those of a shared mapping are
	// the file's own; anonymous shared memory is a file without a name. Private
	// ones are the file's until they are written. The byte at start is at offset.
	file   *fileMapping
	offset uint64
	shared bool
	// frames are pages of the kernel's own (vdso.go).
	frames []physmem.PFN
	// What a fork does with it (MADV_DONTFORK, MADV_WIPEONFORK).
	dontFork, wipeOnFork bool
	name                 string // for /proc/pid/maps
}

// fileOffset is where the page at a lies in the VMA's file.
func (v *vma) fileOffset(a arch.Addr) uint64 { return v.offset + uint64(a-v.start) }

// filePage is the number of the page at a in the VMA's file.
func (v *vma) filePage(a arch.Addr) int64 { return int64(v.fileOffset(a) >> arch.PageShift) }

// mayWrite reports whether mprotect may make the VMA writable.
func (v *vma) mayWrite() bool {
	return !v.shared || v.file.open.CanWrite() && v.file.object.Seals()&noWriteSeals == 0
}

// split makes a copy of v that starts at a, and ends v there.
func (v *vma) split(a arch.Addr) *vma {
	w := *v
	w.start = a
	w.offset = v.fileOffset(a)
	w.growsDown = false
	w.file.ref()
	v.end = a
	return &w
}

// continues reports whether w goes on where v ends, so that the two can be one.
func (v *vma) continues(w *vma) bool {
	return v.end == w.start && v.acc == w.acc && v.frames == nil && w.frames == nil && v.file == w.file && v.shared == w.shared &&
		!v.growsDown && !w.growsDown && v.name == w.name &&
		v.dontFork == w.dontFork && v.wipeOnFork == w.wipeOnFork &&
		(v.file == nil || v.fileOffset(v.end) == w.offset)
}

// vmas are a space's VMAs by start address; they do not overlap.
type vmas struct {
	tree btree.Map[arch.Addr, *vma]
}

// at finds the VMA that contains a.
func (m *vmas) at(a arch.Addr) *vma {
	var found *vma
	m.tree.Descend(a, func(_ arch.Addr, v *vma) bool {
		found = v
		return false
	})
	if found == nil || a >= found.end {
		return nil
	}
	return found
}

// next finds the first VMA that ends above a.
func (m *vmas) next(a arch.Addr) *vma {
	if v := m.at(a); v != nil {
		return v
	}
	var found *vma
	m.tree.Ascend(a, func(_ arch.Addr, v *vma) bool {
		found = v
		return false
	})
	return found
}

// in lists the VMAs that overlap [start, end), in order.
func (m *vmas) in(start, end arch.Addr) []*vma {
	var list []*vma
	for v := m.next(start); v != nil && v.start < end; v = m.next(v.end) {
		list = append(list, v)
	}
	return list
}

// maxVMAs is how many a space may have: Linux's default (vm.max_map_count). Each
// costs the monitor memory that no limit on guest memory counts.
const maxVMAs = 65530

// full says that there may be no more VMAs.
func (m *vmas) full() bool { return m.tree.Len() >= maxVMAs }

// roomFor says that the splits that isolate would make keep within the limit.
func (m *vmas) roomFor(start, end arch.Addr) bool {
	if !m.full() {
		return true
	}
	for _, a := range []arch.Addr{start, end} {
		if v := m.at(a); v != nil && v.start < a {
			return false
		}
	}
	return true
}

func (m *vmas) put(v *vma)    { m.tree.Set(v.start, v) }
func (m *vmas) delete(v *vma) { m.tree.Delete(v.start) }

// isolate splits VMAs so that none crosses start or end, and lists those that
// lie in between.
func (m *vmas) isolate(start, end arch.Addr) []*vma {
	for _, a := range []arch.Addr{start, end} {
		if v := m.at(a); v != nil && v.start < a {
			m.put(v.split(a))
		}
	}
	return m.in(start, end)
}

// merge joins neighbours around [start, end] that have become alike.
func (m *vmas) merge(start, end arch.Addr) {
	v := m.at(start - 1)
	if v == nil {
		v = m.next(start)
	}
	for v != nil && v.start <= end {
		w := m.next(v.end)
		if w == nil || !v.continues(w) {
			v = w
			continue
		}
		m.delete(w)
		v.end = w.end
		w.file.unref()
	}
}

// below is what is kept free below a VMA that grows down.
func (v *vma) below() arch.Addr {
	if !v.growsDown {
		return 0
	}
	return min(v.start, stackGap)
}

// gap finds the highest free range of a length between low and high.
func (m *vmas) gap(low, high arch.Addr, length uint64) (arch.Addr, bool) {
	top := high
	var found arch.Addr
	ok := false
	fits := func(bottom arch.Addr) bool {
		bottom = max(bottom, low)
		if top > bottom && uint64(top-bottom) >= length {
			found, ok = top-arch.Addr(length), true
		}
		return ok
	}
	m.tree.Descend(high, func(_ arch.Addr, v *vma) bool {
		if v.end <= high && fits(v.end) {
			return false
		}
		top = min(top, v.start-v.below())
		return top > low
	})
	if !ok {
		fits(low)
	}
	return found, ok
}
