package guest

import (
	"math"

	"goskas/arch"
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// mapRequest is what mmap asks for, checked.
type mapRequest struct {
	addr   arch.Addr // wanted, page aligned; 0 for none
	length uint64    // whole pages
	acc    arch.Access
	fixed  bool // at addr and nowhere else
	v      vma  // the template of the VMA
}

// pageRange checks a range of whole pages in user space.
func (s *Space) pageRange(a arch.Addr, length uint64) (start, end arch.Addr, ok bool) {
	n, ok := arch.Addr(length).PageUp()
	if !ok || a.PageOffset() != 0 || a > s.mm.End() || n > s.mm.End()-a {
		return 0, 0, false
	}
	return a, a + n, true
}

// access turns PROT_* into rights. On x86 what can be written or executed can
// be read.
func access(prot uint64) arch.Access {
	acc := arch.Access(prot & 7)
	if acc != 0 {
		acc |= arch.Read
	}
	return acc
}

// mapAt makes a mapping and returns its address. It takes over the template's
// references, also when it fails.
func (s *Space) mapAt(r mapRequest) (arch.Addr, unix.Errno) {
	fail := func(e unix.Errno) (arch.Addr, unix.Errno) {
		r.v.file.unref()
		r.v.shared.unref(s.k.mem)
		return 0, e
	}
	at := r.addr
	if !r.fixed {
		_, end, ok := s.pageRange(at, r.length)
		if !ok || at < minAddr || end > s.mmapTop || len(s.vmas.in(at, end)) > 0 {
			if at, ok = s.vmas.gap(minAddr, s.mmapTop, r.length); !ok {
				return fail(unix.ENOMEM)
			}
		}
	} else {
		s.unmap(at, at+arch.Addr(r.length))
	}
	v := r.v
	v.start, v.end, v.acc = at, at+arch.Addr(r.length), r.acc
	s.vmas.put(&v)
	s.vmas.merge(s.k.mem, v.start, v.end)
	return at, 0
}

// unmap takes everything in a range away.
func (s *Space) unmap(start, end arch.Addr) {
	for _, v := range s.vmas.isolate(start, end) {
		s.vmas.delete(v)
		v.file.unref()
		v.shared.unref(s.k.mem)
	}
	s.table().Unmap(start, end)
}

func sysMmap(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	addr, length, prot, flags, offset := a.addr(0), a[1], a[2], a.int(3), a[5]
	size, ok := arch.Addr(length).PageUp()
	switch {
	case length == 0 || offset%arch.PageSize != 0:
		return 0, unix.EINVAL
	case !ok || size > s.mm.End() || offset > math.MaxInt64-uint64(size):
		return 0, unix.ENOMEM
	}
	if s.vmas.full() {
		return 0, unix.ENOMEM
	}
	r := mapRequest{addr: addr.PageDown(), length: uint64(size), acc: access(prot)}
	if flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0 {
		_, end, ok := s.pageRange(addr, length)
		switch {
		case addr.PageOffset() != 0:
			return 0, unix.EINVAL
		case !ok:
			return 0, unix.ENOMEM
		case addr < minAddr:
			return 0, unix.EPERM
		case flags&unix.MAP_FIXED_NOREPLACE != 0 && len(s.vmas.in(addr, end)) > 0:
			return 0, unix.EEXIST
		}
		r.fixed = true
	}
	if e := t.mapContent(&r, flags, a.int(4), offset); e != 0 {
		return 0, e
	}
	at, e := s.mapAt(r)
	if e != 0 {
		return 0, e
	}
	if flags&(unix.MAP_POPULATE|unix.MAP_LOCKED) != 0 && r.acc != 0 {
		s.populate(at, at+size, r.acc)
	}
	return int64(at), 0
}

// mapContent fills in what the mapping shows.
func (t *Task) mapContent(r *mapRequest, flags, fd int, offset uint64) unix.Errno {
	shared := false
	switch flags & unix.MAP_TYPE {
	case unix.MAP_PRIVATE:
	case unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE:
		shared = true
	default:
		return unix.EINVAL
	}
	if r.v.growsDown = flags&unix.MAP_GROWSDOWN != 0; r.v.growsDown && shared {
		return unix.EINVAL
	}
	if flags&unix.MAP_ANONYMOUS != 0 {
		// What can never be there is refused at once, as Linux does by
		// default (vm.overcommit_memory 0).
		if r.acc&arch.Write != 0 && flags&unix.MAP_NORESERVE == 0 &&
			r.length > uint64(t.k.mem.Stats().Total)*arch.PageSize {
			return unix.ENOMEM
		}
		if shared {
			r.v.shared = &sharedMemory{pages: make(map[uint64]physmem.PFN), size: r.length / arch.PageSize, refs: 1}
		}
		return 0
	}
	o, err := t.files.Get(fd)
	if err != nil {
		return unix.EBADF
	}
	st, err := o.File.Stat()
	switch {
	case err != nil:
		return accessErrno(err)
	case st.Type() == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 5): // /dev/zero
		return t.mapContent(r, flags|unix.MAP_ANONYMOUS, -1, 0)
	case st.Type() != unix.S_IFREG:
		return unix.ENODEV
	case !o.CanRead():
		return unix.EACCES
	case shared && r.acc&arch.Write != 0 && !o.CanWrite():
		return unix.EACCES
	case shared && o.CanWrite():
		// There is no cache that would carry a write to the file.
		return unix.ENODEV
	}
	path := ""
	if o.Dentry != nil {
		path = t.k.ns.Path(o.Dentry)
	}
	f, err := newFileMapping(o, path, math.MaxUint64)
	if err != nil {
		return accessErrno(err)
	}
	r.v.file, r.v.offset, r.v.name = f, offset, path
	return 0
}

// populate brings pages in ahead of their use. What does not work will fault
// later, and fail then.
func (s *Space) populate(start, end arch.Addr, acc arch.Access) {
	for a := start; a < end; {
		n := s.fillRun(a, end)
		if n == 0 {
			if s.PageIn(a, acc) != nil {
				return
			}
			n = 1
		}
		a += arch.Addr(n) * arch.PageSize
	}
}

func sysMunmap(t *Task, a args) (int64, unix.Errno) {
	start, end, ok := t.space.pageRange(a.addr(0), a[1])
	if !ok || start == end {
		return 0, unix.EINVAL
	}
	if !t.space.vmas.roomFor(start, end) {
		return 0, unix.ENOMEM
	}
	t.space.unmap(start, end)
	return 0, 0
}

func sysMprotect(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	if a[2]&^(7|unix.PROT_GROWSDOWN|unix.PROT_GROWSUP) != 0 || a.addr(0).PageOffset() != 0 {
		return 0, unix.EINVAL
	}
	start, end, ok := s.pageRange(a.addr(0), a[1])
	if !ok {
		return 0, unix.ENOMEM
	}
	if start == end {
		return 0, 0
	}
	if !s.vmas.roomFor(start, end) {
		return 0, unix.ENOMEM
	}
	acc := access(a[2])
	// As Linux does, change what is there up to the first hole.
	at := start
	var e unix.Errno
	for _, v := range s.vmas.isolate(start, end) {
		if v.start != at {
			break
		}
		if v.shared != nil && v.file != nil && acc&arch.Write != 0 && !v.file.open.CanWrite() {
			e = unix.EACCES
			break
		}
		v.acc = acc
		s.table().Protect(v.start, v.end, acc)
		at = v.end
	}
	if e == 0 && at != end {
		e = unix.ENOMEM
	}
	s.vmas.merge(s.k.mem, start, end)
	return 0, e
}

func sysBrk(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	want := a.addr(0)
	old, okOld := s.brk.PageUp()
	end, ok := want.PageUp()
	if want < s.brkStart || !ok || !okOld || end > s.mmapTop {
		return int64(s.brk), 0
	}
	switch {
	case end > old:
		if s.vmas.full() || len(s.vmas.in(old, end)) > 0 || uint64(end-s.brkStart) > uint64(s.k.mem.Stats().Total)*arch.PageSize {
			return int64(s.brk), 0
		}
		r := mapRequest{addr: old, length: uint64(end - old), acc: arch.Read | arch.Write, fixed: true}
		r.v.name = "[heap]"
		if _, e := s.mapAt(r); e != 0 {
			return int64(s.brk), 0
		}
	case end < old:
		s.unmap(end, old)
	}
	s.brk = want
	return int64(want), 0
}

func sysMadvise(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	start, end, ok := s.pageRange(a.addr(0), a[1])
	if !ok {
		return 0, unix.EINVAL
	}
	switch a.int(2) {
	case unix.MADV_DONTNEED, unix.MADV_FREE:
		// As Linux does, go on behind a hole and tell of it in the end.
		at, hole := start, false
		for _, v := range s.vmas.in(start, end) {
			s.table().Unmap(max(v.start, start), min(v.end, end))
			hole = hole || v.start > at
			at = v.end
		}
		if hole || at < end {
			return 0, unix.ENOMEM
		}
		return 0, 0
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED, unix.MADV_DONTFORK,
		unix.MADV_DOFORK, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
		unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE, unix.MADV_COLD, unix.MADV_PAGEOUT:
		return 0, 0
	}
	return 0, unix.EINVAL
}

func sysMsync(t *Task, a args) (int64, unix.Errno) {
	start, end, ok := t.space.pageRange(a.addr(0), a[1])
	if !ok || a[2]&^(unix.MS_ASYNC|unix.MS_SYNC|unix.MS_INVALIDATE) != 0 {
		return 0, unix.EINVAL
	}
	at := start
	for _, v := range t.space.vmas.in(start, end) {
		if v.start > at {
			return 0, unix.ENOMEM
		}
		at = v.end
	}
	if at < end {
		return 0, unix.ENOMEM
	}
	return 0, 0 // no mapping is ever ahead of its file
}

func sysMincore(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	start, end, ok := s.pageRange(a.addr(0), a[1])
	if !ok {
		return 0, unix.ENOMEM
	}
	out := a.addr(2)
	for at := start; at < end; at += arch.PageSize {
		v := s.vmas.at(at)
		if v == nil {
			return 0, unix.ENOMEM
		}
		var there [1]byte
		if s.table().Lookup(at).Present() {
			there[0] = 1
		}
		if e := t.copyOut(out+(at-start)>>arch.PageShift, there[:]); e != 0 {
			return 0, e
		}
	}
	return 0, 0
}

// sysMlock serves the whole family: nothing is ever swapped out.
func sysMlock(*Task, args) (int64, unix.Errno) { return 0, 0 }

func sysMremap(t *Task, a args) (int64, unix.Errno) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED
	s := t.space
	flags := a.int(3)
	oldStart, oldEnd, ok := s.pageRange(a.addr(0), a[1])
	size, okSize := arch.Addr(a[2]).PageUp()
	if !ok || !okSize || size == 0 || flags&^known != 0 || oldStart == oldEnd {
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
	if v == nil || oldEnd > v.end {
		return 0, unix.EFAULT
	}
	oldSize := oldEnd - oldStart
	if flags&unix.MREMAP_FIXED != 0 {
		s.unmap(to, toEnd)
		return s.move(oldStart, oldSize, to, size)
	}
	switch {
	case size == oldSize:
		return int64(oldStart), 0
	case size < oldSize:
		s.unmap(oldStart+size, oldEnd)
		return int64(oldStart), 0
	case v.acc&arch.Write != 0 && v.shared == nil && uint64(size) > uint64(s.k.mem.Stats().Total)*arch.PageSize:
		return 0, unix.ENOMEM
	}
	if end := oldStart + size; v.end == oldEnd && end <= s.mmapTop && len(s.vmas.in(oldEnd, end)) == 0 {
		v.end = end
		s.vmas.merge(s.k.mem, v.start, v.end)
		return int64(oldStart), 0
	}
	if flags&unix.MREMAP_MAYMOVE == 0 {
		return 0, unix.ENOMEM
	}
	if to, ok = s.vmas.gap(minAddr, s.mmapTop, uint64(size)); !ok {
		return 0, unix.ENOMEM
	}
	return s.move(oldStart, oldSize, to, size)
}

// move takes a range of one VMA to a free place, with a new size.
func (s *Space) move(from, oldSize, to, size arch.Addr) (int64, unix.Errno) {
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
	s.vmas.delete(v)
	v.start, v.end = to, to+size
	s.vmas.put(v)
	s.vmas.merge(s.k.mem, to, to+size)
	return int64(to), 0
}
