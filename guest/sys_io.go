package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// Limits of one read or write (linux/fs.h: MAX_RW_COUNT; linux/uio.h).
const (
	maxIO      = 0x7ffff000
	maxVectors = 1024
)

// segment is one piece of user memory.
type segment struct {
	addr arch.Addr
	size uint64
}

// segments is the memory of a read or write, in order.
type segments []segment

func (s segments) size() (n uint64) {
	for _, seg := range s {
		n += seg.size
	}
	return n
}

// one is the memory of a call with a plain buffer, kept in t so that it needs
// no allocation.
func (t *Task) one(a arch.Addr, size uint64) segments {
	t.segment[0] = segment{a, min(size, maxIO)}
	return t.segment[:]
}

// vectors reads an array of struct iovec.
func (t *Task) vectors(a arch.Addr, n int) (segments, unix.Errno) {
	if n < 0 || n > maxVectors {
		return nil, unix.EINVAL
	}
	raw := t.k.scratch[:16*n]
	if e := t.copyIn(a, raw); e != 0 {
		return nil, e
	}
	segs := make(segments, n)
	left := uint64(maxIO)
	for i := range segs {
		size := le.Uint64(raw[16*i+8:])
		if int64(size) < 0 {
			return nil, unix.EINVAL
		}
		size = min(size, left)
		left -= size
		segs[i] = segment{arch.Addr(le.Uint64(raw[16*i:])), size}
	}
	return segs, 0
}

// each calls f for the pieces of user memory that correspond to p, the bytes
// at offset off of the whole; it returns how many bytes f did without an
// error.
func (s segments) each(off uint64, p []byte, f func(a arch.Addr, p []byte) (int, error)) (int, error) {
	done := 0
	for _, seg := range s {
		if off >= seg.size {
			off -= seg.size
			continue
		}
		part := p[done:min(uint64(len(p)), uint64(done)+seg.size-off)]
		if len(part) == 0 {
			break
		}
		n, err := f(seg.addr+arch.Addr(off), part)
		done += n
		if err != nil {
			return done, err
		}
		off = 0
	}
	return done, nil
}

// scatter copies p to user memory, gather the other way.
func (t *Task) scatter(s segments, off uint64, p []byte) (int, error) {
	table := t.space.table()
	return s.each(off, p, func(a arch.Addr, p []byte) (int, error) { return table.CopyOut(a, p) })
}

func (t *Task) gather(s segments, off uint64, p []byte) (int, error) {
	table := t.space.table()
	return s.each(off, p, func(a arch.Addr, p []byte) (int, error) { return table.CopyIn(p, a) })
}

// whole says that a call moves at most one message from or to f, however long
// the caller's buffer is.
func whole(f *vfs.OpenFile) bool {
	_, ok := f.File.(interface{ Whole() })
	return ok
}

// read moves bytes from f to user memory through the scratch buffer. get reads
// at the current position, which is done bytes on from where the call began.
// took, if there is one, is told how many of those that get has given have got
// there, and says how many of these count.
func (t *Task) read(f *vfs.OpenFile, s segments, get func(p []byte, done uint64) (int, error), took func(n, got int) int) (int64, unix.Errno) {
	total, done := s.size(), uint64(0)
	if total == 0 && !whole(f) {
		return 0, 0
	}
	for {
		p := t.k.scratch[:min(total-done, scratchSize)]
		n, err := get(p, done)
		if n > 0 {
			m, fault := t.scatter(s, done, p[:n])
			if took != nil {
				m = took(m, n)
			}
			done += uint64(m)
			if fault != nil {
				if done == 0 {
					return 0, unix.EFAULT
				}
				return int64(done), 0
			}
		}
		switch e := errnoOf(err); {
		case done > 0 && (e != 0 || n < len(p) || done == total || whole(f)):
			return int64(done), 0
		case e == unix.EAGAIN && !nonblocking(f):
			return t.block(errRestartSys, f.File.Queue())
		case e != 0:
			return 0, e
		case n == 0:
			return 0, 0
		}
		if t.deliverable() != 0 {
			return int64(done), 0
		}
	}
}

// write moves bytes from user memory to f. A wait in the middle keeps the
// count in t.call.done.
func (t *Task) write(f *vfs.OpenFile, s segments, put func(p []byte, done uint64) (int, error)) (int64, unix.Errno) {
	total := s.size()
	for {
		done := uint64(t.call.done)
		p := t.k.scratch[:min(total-done, scratchSize)]
		n, fault := t.gather(s, done, p)
		if fault != nil && n == 0 {
			if done > 0 {
				return int64(done), 0
			}
			return 0, unix.EFAULT
		}
		n, err := put(p[:n], done)
		t.call.done += int64(n)
		done += uint64(n)
		e := errnoOf(err)
		if e == unix.EAGAIN && !nonblocking(f) {
			v, e := t.block(errRestartSys, f.File.Queue())
			if e != errBlocked && done > 0 {
				return int64(done), 0
			}
			return v, e
		}
		if e == unix.EPIPE {
			t.send(kernelSignal(int(unix.SIGPIPE)))
		}
		switch {
		case done > 0 && (e != 0 || n == 0 || done == total || whole(f)):
			return int64(done), 0
		case e != 0:
			return 0, e
		case n == 0:
			return 0, 0
		}
	}
}
