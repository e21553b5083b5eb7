package guest

import (
	"math"

	"goskas/arch"
	"goskas/guest/vfs"

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
		return 0, e
	}
	at := r.addr
	if !r.fixed {
		if !s.fits(at, r.length) {
			var ok bool
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
	s.vmas.merge(v.start, v.end)
	return at, 0
}

// fits reports whether a mapping can be where it is wanted: in free space, and not
// too close below a stack.
func (s *Space) fits(at arch.Addr, length uint64) bool {
	_, end, ok := s.pageRange(at, length)
	if !ok || at < minAddr || end > s.mmapTop || len(s.vmas.in(at, end)) > 0 {
		return false
	}
	above := s.vmas.next(end)
	return above == nil || above.start-above.below() >= end
}

// unmap takes everything in a range away.
func (s *Space) unmap(start, end arch.Addr) {
	for _, v := range s.vmas.isolate(start, end) {
		s.vmas.delete(v)
		v.file.unref()
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

// mmapKnown are the flags that MAP_SHARED_VALIDATE accepts (LEGACY_MAP_MASK,
// linux/mman.h).
const mmapKnown = unix.MAP_SHARED | unix.MAP_PRIVATE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE |
	unix.MAP_EXECUTABLE | unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE |
	unix.MAP_NONBLOCK | unix.MAP_STACK | unix.MAP_HUGETLB | unix.MAP_32BIT

// mapContent fills in what the mapping shows.
func (t *Task) mapContent(r *mapRequest, flags, fd int, offset uint64) unix.Errno {
	switch flags & unix.MAP_TYPE {
	case unix.MAP_PRIVATE:
	case unix.MAP_SHARED:
		r.v.shared = true
	case unix.MAP_SHARED_VALIDATE:
		if flags&^(mmapKnown|unix.MAP_FIXED_NOREPLACE) != 0 {
			return unix.EOPNOTSUPP
		}
		r.v.shared = true
	default:
		return unix.EINVAL
	}
	if r.v.growsDown = flags&unix.MAP_GROWSDOWN != 0; r.v.growsDown && r.v.shared {
		return unix.EINVAL
	}
	if flags&unix.MAP_ANONYMOUS != 0 {
		return t.mapAnonymous(r, flags)
	}
	o, err := t.files.Get(fd)
	if err != nil || o.Flags&unix.O_PATH != 0 {
		return unix.EBADF
	}
	st, err := o.File.Stat()
	switch {
	case err != nil:
		return accessErrno(err)
	case st.Type() == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 5): // /dev/zero
		return t.mapAnonymous(r, flags)
	case !o.CanRead() || r.v.shared && r.acc&arch.Write != 0 && !o.CanWrite():
		return unix.EACCES
	case st.Type() != unix.S_IFREG:
		return unix.ENODEV
	}
	path := ""
	if o.Dentry != nil {
		path = t.k.ns.Show(o.Dentry)
	}
	f, e := t.k.newFileMapping(o, path)
	if e != 0 {
		return e
	}
	if r.v.shared && r.acc&arch.Write != 0 && f.object.Seals()&noWriteSeals != 0 {
		f.unref()
		return unix.EPERM
	}
	r.v.file, r.v.offset, r.v.name = f, offset, path
	return 0
}

// noWriteSeals are those that forbid new writable mappings.
const noWriteSeals = unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE

// anonPath is what /proc/pid/maps calls anonymous shared memory, as on Linux.
const anonPath = "/dev/zero (deleted)"

func (t *Task) mapAnonymous(r *mapRequest, flags int) unix.Errno {
	// What can never be there is refused at once, as Linux does by default
	// (vm.overcommit_memory 0).
	if r.acc&arch.Write != 0 && flags&unix.MAP_NORESERVE == 0 &&
		r.length > uint64(t.k.mem.Stats().Total)*arch.PageSize {
		return unix.ENOMEM
	}
	if !r.v.shared {
		return 0
	}
	f, err := t.k.shm.NewFile(0o600).Open(unix.O_RDWR)
	if err == nil {
		err = f.Truncate(int64(r.length))
	}
	if err != nil {
		return errnoOf(err)
	}
	o := vfs.NewOpenFile(f, unix.O_RDWR, nil)
	defer o.Unref()
	var e unix.Errno
	r.v.file, e = t.k.newFileMapping(o, anonPath)
	r.v.name = anonPath
	return e
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
		if acc&arch.Write != 0 && !v.mayWrite() {
			e = unix.EACCES
			break
		}
		v.acc = acc
		s.table().Protect(v.start, v.end, acc)
		if v.shared && acc&arch.Write != 0 {
			s.dirtied(v)
		}
		at = v.end
	}
	if e == 0 && at != end {
		e = unix.ENOMEM
	}
	s.vmas.merge(start, end)
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
