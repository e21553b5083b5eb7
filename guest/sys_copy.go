package guest

import (
	"math"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// offsetArg is an offset that a call takes from memory and puts back there, or
// from an open file if there is no address.
type offsetArg struct {
	at   arch.Addr
	file *vfs.OpenFile
	pos  int64
}

func (t *Task) offsetArg(f *vfs.OpenFile, at arch.Addr) (o offsetArg, _ unix.Errno) {
	if at == 0 {
		return offsetArg{file: f, pos: f.Offset}, 0
	}
	v, e := t.loadU64(at)
	return offsetArg{at: at, file: f, pos: int64(v)}, e
}

func (t *Task) moved(o offsetArg, n int64) unix.Errno {
	if o.at == 0 {
		o.file.Offset = o.pos + n
		return 0
	}
	return t.storeU64(o.at, uint64(o.pos+n))
}

// sysCopyFileRange copies between two regular files, inside the kernel.
func sysCopyFileRange(t *Task, a args) (int64, unix.Errno) {
	in, e := t.readable(a.int(0))
	if e != 0 {
		return 0, e
	}
	out, e := t.writable(a.int(2))
	if e != 0 || out.Flags&unix.O_APPEND != 0 {
		return 0, unix.EBADF
	}
	from, e := t.offsetArg(in, a.addr(1))
	if e != 0 {
		return 0, e
	}
	to, e := t.offsetArg(out, a.addr(3))
	if e != 0 {
		return 0, e
	}
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	var st [2]vfs.Stat
	for i, f := range []*vfs.OpenFile{in, out} {
		var err error
		switch st[i], err = f.File.Stat(); {
		case err != nil:
			return 0, errnoOf(err)
		case st[i].IsDir():
			return 0, unix.EISDIR
		case st[i].Type() != unix.S_IFREG:
			return 0, unix.EINVAL
		}
	}
	total := int64(min(a[4], maxIO))
	switch {
	case uint64(from.pos)+a[4] < uint64(from.pos) || uint64(to.pos)+a[4] < uint64(to.pos): // before the signs are looked at
		return 0, unix.EOVERFLOW
	case from.pos < 0 || to.pos < 0:
		return 0, unix.EINVAL
	case from.pos > math.MaxInt64-total || to.pos > math.MaxInt64-total:
		return 0, unix.EOVERFLOW
	}
	total = min(total, max(0, st[0].Size-from.pos))
	if st[0].Dev == st[1].Dev && st[0].Ino == st[1].Ino && from.pos < to.pos+total && to.pos < from.pos+total {
		return 0, unix.EINVAL // overlapping
	}
	done := int64(0)
	for done < total && t.deliverable() == 0 {
		p := t.k.scratch[:min(total-done, scratchSize)]
		n, err := in.File.ReadAt(p, from.pos+done)
		if err == nil && n > 0 {
			n, err = out.File.WriteAt(p[:n], to.pos+done)
		}
		if err != nil && done == 0 {
			return 0, errnoOf(err)
		}
		if err != nil || n == 0 {
			break
		}
		done += int64(n)
	}
	if e := t.moved(from, done); e != 0 {
		return 0, e
	}
	return done, t.moved(to, done)
}

// rwfKnown are the flags of preadv2 and pwritev2 that change nothing here
// (linux/fs.h: RWF_HIPRI, RWF_DSYNC, RWF_SYNC).
const rwfKnown = 1 | 2 | 4

// sysVector2 makes preadv2 and pwritev2 of the calls without flags, one for the
// file's own position.
func sysVector2(here, at handler) handler {
	return func(t *Task, a args) (int64, unix.Errno) {
		switch {
		case a.u32(5)&^rwfKnown != 0:
			return 0, unix.EOPNOTSUPP
		case a.i64(3) == -1:
			return here(t, a)
		}
		return at(t, a)
	}
}
