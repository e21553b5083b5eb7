package guest

import (
	"goskas/arch"

	"golang.org/x/sys/unix"
)

func sysMremap(t *Task, a args) (int64, unix.Errno) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	s := t.space
	flags := a.int(3)
	oldStart, oldEnd, ok := s.pageRange(a.addr(0), a[1])
	size, okSize := arch.Addr(a[2]).PageUp()
	keep := flags&unix.MREMAP_DONTUNMAP != 0
	if !ok || !okSize || size == 0 || flags&^known != 0 ||
		keep && (flags&unix.MREMAP_MAYMOVE == 0 || size != oldEnd-oldStart) {
		return 0, unix.EINVAL
	}
	var to, toEnd arch.Addr
	if flags&unix.MREMAP_FIXED != 0 {
		to, toEnd, ok = s.pageRange(a.addr(4), uint64(size))
		if !ok || to < minAddr || to < oldEnd && oldStart < toEnd || flags&unix.MREMAP_MAYMOVE == 0 {
			return 0, unix.EINVAL
		}
	}
	// A move may split what it comes from and what it goes to.
	if size > s.mm.End() || s.vmas.tree.Len() > maxVMAs-4 {
		return 0, unix.ENOMEM
	}
	v := s.vmas.at(oldStart)
	oldSize := oldEnd - oldStart
	switch {
	case v == nil:
		return 0, unix.EFAULT
	case oldSize == 0 && (!v.shared || flags&unix.MREMAP_MAYMOVE == 0):
		return 0, unix.EINVAL // only what is shared can be mapped once more
	case oldEnd > v.end:
		return 0, unix.EFAULT
	}
	if flags&unix.MREMAP_FIXED != 0 {
		s.unmap(to, toEnd)
		return s.move(oldStart, oldSize, to, size, keep)
	}
	switch {
	case keep || oldSize == 0:
		if to, ok = s.vmas.gap(minAddr, s.mmapTop, uint64(size)); !ok {
			return 0, unix.ENOMEM
		}
		return s.move(oldStart, oldSize, to, size, keep)
	case size == oldSize:
		return int64(oldStart), 0
	case size < oldSize:
		s.unmap(oldStart+size, oldEnd)
		return int64(oldStart), 0
	case v.acc&arch.Write != 0 && !v.shared && uint64(size) > uint64(s.k.mem.Stats().Total)*arch.PageSize:
		return 0, unix.ENOMEM
	}
	if end := oldStart + size; v.end == oldEnd && end <= s.mmapTop && len(s.vmas.in(oldEnd, end)) == 0 {
		v.end = end
		s.vmas.merge(v.start, v.end)
		return int64(oldStart), 0
	}
	if flags&unix.MREMAP_MAYMOVE == 0 {
		return 0, unix.ENOMEM
	}
	if to, ok = s.vmas.gap(minAddr, s.mmapTop, uint64(size)); !ok {
		return 0, unix.ENOMEM
	}
	return s.move(oldStart, oldSize, to, size, false)
}

// move takes a range of one VMA to a free place, with a new size. The old place
// keeps its VMA, without pages, if keep is set; from a range of length 0 nothing
// moves, and the new place shows the same.
func (s *Space) move(from, oldSize, to, size arch.Addr, keep bool) (int64, unix.Errno) {
	if oldSize == 0 {
		v := *s.vmas.at(from)
		v.offset = v.fileOffset(from)
		v.start, v.end = to, to+size
		v.file.ref()
		s.vmas.put(&v)
		return int64(to), 0
	}
	list := s.vmas.isolate(from, from+oldSize)
	if len(list) != 1 {
		return 0, unix.EFAULT
	}
	v := list[0]
	kept := min(oldSize, size)
	if err := s.table().Move(from, to, uint64(kept)); err != nil {
		return 0, accessErrno(err)
	}
	s.table().Unmap(from, from+oldSize)
	if keep {
		w := *v
		w.file.ref()
		v = &w
	} else {
		s.vmas.delete(v)
	}
	v.start, v.end = to, to+size
	s.vmas.put(v)
	s.vmas.merge(to, to+size)
	return int64(to), 0
}
