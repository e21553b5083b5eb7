package guest

import (
	"errors"

	"goskas/arch"
	"goskas/guest/vfs"

	"golang.org/x/sys/unix"
)

// The advice that does something, by what it needs of a VMA to be taken. The rest
// of what Linux knows is accepted where it would be.
func sysMadvise(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	start, end, ok := s.pageRange(a.addr(0), a[1])
	if !ok {
		return 0, unix.EINVAL
	}
	var f func(v *vma, start, end arch.Addr) unix.Errno
	switch a.int(2) {
	case unix.MADV_DONTNEED:
		f = func(_ *vma, start, end arch.Addr) unix.Errno { s.table().Unmap(start, end); return 0 }
	case unix.MADV_FREE:
		f = func(v *vma, start, end arch.Addr) unix.Errno {
			if v.file != nil {
				return unix.EINVAL
			}
			s.table().Unmap(start, end)
			return 0
		}
	case unix.MADV_REMOVE:
		f = s.remove
	case unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return 0, s.prefault(start, end, a.int(2) == unix.MADV_POPULATE_WRITE)
	case unix.MADV_DONTFORK, unix.MADV_DOFORK, unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK:
		if !s.vmas.roomFor(start, end) {
			return 0, unix.ENOMEM
		}
		s.vmas.isolate(start, end)
		defer s.vmas.merge(start, end)
		f = func(v *vma, _, _ arch.Addr) unix.Errno { return v.forkAdvice(a.int(2)) }
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED, unix.MADV_HUGEPAGE,
		unix.MADV_NOHUGEPAGE, unix.MADV_DONTDUMP, unix.MADV_DODUMP, unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE,
		unix.MADV_COLD, unix.MADV_PAGEOUT:
		f = func(*vma, arch.Addr, arch.Addr) unix.Errno { return 0 }
	default:
		return 0, unix.EINVAL
	}
	// As Linux does, go on behind a hole and tell of it in the end.
	for _, v := range s.vmas.in(start, end) {
		if e := f(v, max(v.start, start), min(v.end, end)); e != 0 {
			return 0, e
		}
	}
	return 0, s.hole(start, end)
}

// hole is ENOMEM if a part of a range has no VMA.
func (s *Space) hole(start, end arch.Addr) unix.Errno {
	at := start
	for _, v := range s.vmas.in(start, end) {
		if v.start > at {
			break
		}
		at = v.end
	}
	if at < end {
		return unix.ENOMEM
	}
	return 0
}

// forkAdvice says what a fork is to do with a VMA.
func (v *vma) forkAdvice(advice int) unix.Errno {
	switch advice {
	case unix.MADV_DONTFORK:
		v.dontFork = true
	case unix.MADV_DOFORK:
		v.dontFork = false
	case unix.MADV_WIPEONFORK:
		if v.file != nil {
			return unix.EINVAL
		}
		v.wipeOnFork = true
	case unix.MADV_KEEPONFORK:
		v.wipeOnFork = false
	}
	return 0
}

// remove makes a range of a shared mapping, and of its file, zero.
func (s *Space) remove(v *vma, start, end arch.Addr) unix.Errno {
	switch {
	case v.file == nil:
		return unix.EINVAL
	case !v.shared || !v.mayWrite():
		return unix.EACCES
	}
	f, ok := v.file.open.File.(vfs.Allocator)
	if !ok {
		return unix.EINVAL
	}
	return errnoOf(f.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(v.fileOffset(start)), int64(end-start)))
}

// prefault brings the pages of a range in, or says why it cannot.
func (s *Space) prefault(start, end arch.Addr, write bool) unix.Errno {
	acc := arch.Read
	if write {
		acc = arch.Write
	}
	for a := start; a < end; a += arch.PageSize {
		v := s.vmas.at(a)
		switch {
		case v == nil:
			return unix.ENOMEM
		case acc&^v.acc != 0:
			return unix.EINVAL
		}
		switch err := s.PageIn(a, acc); {
		case errors.Is(err, errBus):
			return unix.EFAULT
		case err != nil:
			return unix.ENOMEM
		}
	}
	return 0
}

func sysMsync(t *Task, a args) (int64, unix.Errno) {
	start, end, ok := t.space.pageRange(a.addr(0), a[1])
	flags := a.int(2)
	if flags&^(unix.MS_ASYNC|unix.MS_SYNC|unix.MS_INVALIDATE) != 0 || flags&unix.MS_ASYNC != 0 && flags&unix.MS_SYNC != 0 ||
		a.addr(0).PageOffset() != 0 {
		return 0, unix.EINVAL
	}
	if !ok {
		return 0, unix.ENOMEM
	}
	for _, v := range t.space.vmas.in(start, end) {
		if !v.shared || !v.file.open.CanWrite() || flags&unix.MS_SYNC == 0 {
			continue
		}
		first, last := v.filePage(max(start, v.start)), v.filePage(min(end, v.end))
		if err := v.file.content.WriteBack(first, last); err != nil {
			return 0, errnoOf(err)
		}
	}
	return 0, t.space.hole(start, end)
}

func sysMincore(t *Task, a args) (int64, unix.Errno) {
	s := t.space
	start, end, ok := s.pageRange(a.addr(0), a[1])
	if a.addr(0).PageOffset() != 0 {
		return 0, unix.EINVAL
	}
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
		if s.table().Lookup(at).Present() || v.file != nil && v.file.object.Has(v.filePage(at)) {
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
