package guest

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/mm"
)

// maxPath is PATH_MAX (linux/limits.h), the terminating zero included.
const maxPath = 4096

// accessErrno turns an error of a table copy into what the guest sees.
func accessErrno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EFAULT
}

// copyIn fills p from user memory.
func (t *Task) copyIn(a arch.Addr, p []byte) unix.Errno {
	if len(p) == 0 {
		return 0
	}
	_, err := t.space.table().CopyIn(p, a)
	return accessErrno(err)
}

// copyOut writes p to user memory.
func (t *Task) copyOut(a arch.Addr, p []byte) unix.Errno {
	if len(p) == 0 {
		return 0
	}
	_, err := t.space.table().CopyOut(a, p)
	return accessErrno(err)
}

// copyInSome fills as much of p as user memory allows; the errno is 0 unless
// nothing at all could be read.
func (t *Task) copyInSome(a arch.Addr, p []byte) (int, unix.Errno) {
	n, err := t.space.table().CopyIn(p, a)
	if n > 0 {
		return n, 0
	}
	return 0, accessErrno(err)
}

// cstring reads a zero-terminated string of at most limit bytes.
func (t *Task) cstring(a arch.Addr, limit int) (string, unix.Errno) {
	s, err := t.space.table().ReadString(a, limit)
	if errors.Is(err, mm.ErrTooLong) {
		return "", unix.ENAMETOOLONG
	}
	return s, accessErrno(err)
}

// path reads a file name argument.
func (t *Task) path(a arch.Addr) (string, unix.Errno) { return t.cstring(a, maxPath) }

func (t *Task) loadU32(a arch.Addr) (uint32, unix.Errno) {
	v, err := t.space.table().LoadUint32(a)
	return v, accessErrno(err)
}

func (t *Task) loadU64(a arch.Addr) (uint64, unix.Errno) {
	v, err := t.space.table().LoadUint64(a)
	return v, accessErrno(err)
}

func (t *Task) storeU32(a arch.Addr, v uint32) unix.Errno {
	return accessErrno(t.space.table().StoreUint32(a, v))
}

func (t *Task) storeU64(a arch.Addr, v uint64) unix.Errno {
	return accessErrno(t.space.table().StoreUint64(a, v))
}

// loadWords reads n 64-bit words, at most 8.
func (t *Task) loadWords(a arch.Addr, w []uint64) unix.Errno {
	var buf [64]byte
	if e := t.copyIn(a, buf[:8*len(w)]); e != 0 {
		return e
	}
	for i := range w {
		w[i] = le.Uint64(buf[8*i:])
	}
	return 0
}

// storeWords writes 64-bit words, at most 8.
func (t *Task) storeWords(a arch.Addr, w ...uint64) unix.Errno {
	var buf [64]byte
	for i, v := range w {
		le.PutUint64(buf[8*i:], v)
	}
	return t.copyOut(a, buf[:8*len(w)])
}

// le is the byte order of every supported guest.
var le = binary.LittleEndian
