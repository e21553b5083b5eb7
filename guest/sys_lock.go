package guest

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// flockSize is sizeof(struct flock) (asm-generic/fcntl.h): l_type and l_whence
// of 16 bits, l_start at 8, l_len at 16, l_pid at 24.
const flockSize = 32

// Locks that belong to an open file description (asm-generic/fcntl.h).
const (
	fOFDGetlk  = 36
	fOFDSetlk  = 37
	fOFDSetlkw = 38
)

// lockRequest reads a struct flock.
func (t *Task) lockRequest(f *vfs.OpenFile, b []byte) (l rangeLock, unlock bool, _ unix.Errno) {
	base := int64(0)
	switch le.Uint16(b[2:]) {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = f.Offset
	case unix.SEEK_END:
		st, err := f.File.Stat()
		if err != nil {
			return l, false, errnoOf(err)
		}
		base = st.Size
	default:
		return l, false, unix.EINVAL
	}
	start, length := int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))
	if start > math.MaxInt64-base {
		return l, false, unix.EOVERFLOW
	}
	l.start = base + start
	switch {
	case l.start < 0:
		return l, false, unix.EINVAL
	case length > 0 && l.start > math.MaxInt64-(length-1):
		return l, false, unix.EOVERFLOW
	case length > 0:
		l.end = l.start + length - 1
	case length < 0:
		if l.start+length < 0 {
			return l, false, unix.EINVAL
		}
		l.start, l.end = l.start+length, l.start-1
	default:
		l.end = math.MaxInt64
	}
	switch int16(le.Uint16(b)) {
	case unix.F_RDLCK:
	case unix.F_WRLCK:
		l.write = true
	case unix.F_UNLCK:
		unlock = true
	default:
		return l, false, unix.EINVAL
	}
	return l, unlock, 0
}

// fcntlLock is F_GETLK and its like.
func (t *Task) fcntlLock(f *vfs.OpenFile, a args) (int64, unix.Errno) {
	cmd, at := a.int(1), a.addr(2)
	b := make([]byte, flockSize)
	if e := t.copyIn(at, b); e != 0 {
		return 0, e
	}
	want, unlock, e := t.lockRequest(f, b)
	if e != 0 {
		return 0, e
	}
	want.owner, want.pid = t.files, t.pid
	if cmd >= fOFDGetlk {
		if le.Uint32(b[24:]) != 0 {
			return 0, unix.EINVAL
		}
		want.owner, want.pid = f, -1
	}
	locks, err := t.k.locksOf(f)
	if err != nil {
		return 0, errnoOf(err)
	}
	if cmd == unix.F_GETLK || cmd == fOFDGetlk {
		other := conflict(locks.ranges, &want)
		if unlock {
			if cmd == unix.F_GETLK {
				return 0, unix.EINVAL
			}
			// What the open file itself has there.
			other = nil
			if i := slices.IndexFunc(locks.ranges, func(l rangeLock) bool { return l.owner == want.owner && l.overlaps(&want) }); i >= 0 {
				other = &locks.ranges[i]
			}
		}
		putLock(b, other)
		return 0, t.copyOut(at, b)
	}
	switch {
	case unlock:
		locks.unlock(want.owner, want.start, want.end)
		return 0, 0
	case want.write && !f.CanWrite() || !want.write && !f.CanRead():
		return 0, unix.EBADF
	}
	if cmd >= fOFDGetlk {
		t.k.dropAtEnd(f)
	}
	other := conflict(locks.ranges, &want)
	delete(t.k.lockWaits, want.owner)
	switch {
	case other == nil:
		locks.ranges = add(locks.ranges, want)
		locks.freed.Wake() // a lock for writing may have become one for reading
		return 0, 0
	case cmd == unix.F_SETLK || cmd == fOFDSetlk:
		return 0, unix.EAGAIN
	case cmd == unix.F_SETLKW && t.k.waitsFor(other.owner, want.owner):
		return 0, unix.EDEADLK
	}
	if cmd == unix.F_SETLKW {
		t.k.lockWaits[want.owner] = other.owner
	}
	v, e := t.block(errRestartSys, &locks.freed)
	if e != errBlocked {
		delete(t.k.lockWaits, want.owner)
	}
	return v, e
}

// putLock tells of a lock in the way, or that there is none.
func putLock(b []byte, l *rangeLock) {
	if l == nil {
		le.PutUint16(b, unix.F_UNLCK)
		return
	}
	le.PutUint16(b, unix.F_RDLCK)
	if l.write {
		le.PutUint16(b, unix.F_WRLCK)
	}
	length := int64(0)
	if l.end != math.MaxInt64 {
		length = l.end - l.start + 1
	}
	le.PutUint16(b[2:], unix.SEEK_SET)
	le.PutUint64(b[8:], uint64(l.start))
	le.PutUint64(b[16:], uint64(length))
	le.PutUint32(b[24:], uint32(l.pid))
}

// dropAtEnd gives up the locks of an open file when nobody has it open any more.
func (k *Kernel) dropAtEnd(f *vfs.OpenFile) { f.AtEnd = func() { k.dropLocks(f, f) } }

func sysFlock(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 || f.Flags&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	want := rangeLock{end: math.MaxInt64, owner: f}
	op := a.int(1)
	locks, err := t.k.locksOf(f)
	if err != nil {
		return 0, errnoOf(err)
	}
	switch op &^ unix.LOCK_NB {
	case unix.LOCK_SH:
	case unix.LOCK_EX:
		want.write = true
	case unix.LOCK_UN:
		locks.whole = without(locks.whole, f, 0, math.MaxInt64)
		locks.freed.Wake()
		return 0, 0
	default:
		return 0, unix.EINVAL
	}
	t.k.dropAtEnd(f)
	for _, l := range locks.whole {
		if l.owner == any(f) && l.write == want.write {
			return 0, 0
		}
	}
	// As on Linux, the old lock is given up before the new one is tried for.
	if had := len(locks.whole); had > 0 {
		locks.whole = without(locks.whole, f, 0, math.MaxInt64)
		if len(locks.whole) < had {
			locks.freed.Wake()
		}
	}
	if conflict(locks.whole, &want) == nil {
		locks.whole = append(locks.whole, want)
		return 0, 0
	}
	if op&unix.LOCK_NB != 0 {
		return 0, unix.EWOULDBLOCK
	}
	return t.block(errRestartSys, &locks.freed)
}
