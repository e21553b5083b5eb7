package guest

import (
	"math"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// readable is the open file of a descriptor that may be read.
func (t *Task) readable(fd int) (*vfs.OpenFile, unix.Errno) {
	f, e := t.file(fd)
	if e == 0 && !f.CanRead() {
		return nil, unix.EBADF
	}
	return f, e
}

// writable is the open file of a descriptor that may be written.
func (t *Task) writable(fd int) (*vfs.OpenFile, unix.Errno) {
	f, e := t.file(fd)
	if e == 0 && !f.CanWrite() {
		return nil, unix.EBADF
	}
	return f, e
}

// getAt and putAt read and write at a position that the call gives.
func getAt(f *vfs.OpenFile, off int64) func([]byte, uint64) (int, error) {
	return func(p []byte, done uint64) (int, error) { return f.File.ReadAt(p, off+int64(done)) }
}

func putAt(f *vfs.OpenFile, off int64) func([]byte, uint64) (int, error) {
	return func(p []byte, done uint64) (int, error) { return f.File.WriteAt(p, off+int64(done)) }
}

// stream is a file whose bytes are gone once they are read, and which keeps those
// that have not reached user memory: a pipe.
type stream interface {
	Peek(p []byte) (int, error)
	Take(n, peeked int) int
}

// readOn reads where f stands, and moves it by what has reached user memory.
func (t *Task) readOn(f *vfs.OpenFile, s segments) (int64, unix.Errno) {
	if sock, ok := f.File.(*vfs.Socket); ok {
		if s.size() == 0 {
			return 0, 0
		}
		v, r, e := t.recv(f, sock, s, 0)
		closeAll(r.files) // there is no place for them
		return v, e
	}
	if tty := vfs.TTYOf(f.File); tty != nil {
		return t.readTTY(f, tty, s)
	}
	if c := vfs.ControlOf(f.File); c != nil {
		if e := t.mayUse(c, unix.SIGTTIN); e != 0 {
			return 0, e
		}
	}
	if p, ok := f.File.(stream); ok {
		return t.read(f, s, func(b []byte, _ uint64) (int, error) { return p.Peek(b) }, p.Take)
	}
	if !f.File.Seekable() {
		return t.read(f, s, func(p []byte, _ uint64) (int, error) { return f.Read(p) }, nil)
	}
	off := f.Offset
	n, e := t.read(f, s, getAt(f, off), nil)
	if e == 0 {
		f.Offset = off + n
	}
	return n, e
}

// writeOn writes where f stands.
func (t *Task) writeOn(f *vfs.OpenFile, s segments) (int64, unix.Errno) {
	if sock, ok := f.File.(*vfs.Socket); ok {
		return t.sendMsg(f, sock, &msghdr{data: s}, 0)
	}
	if tty := vfs.TTYOf(f.File); tty != nil {
		if e := t.writeTTY(tty); e != 0 {
			return 0, e
		}
	}
	return t.write(f, s, put(f))
}

func put(f *vfs.OpenFile) func([]byte, uint64) (int, error) {
	return func(p []byte, _ uint64) (int, error) { return f.Write(p) }
}

func sysRead(t *Task, a args) (int64, unix.Errno) {
	f, e := t.readable(a.int(0))
	if e != 0 {
		return 0, e
	}
	return t.readOn(f, t.one(a.addr(1), a[2]))
}

func sysWrite(t *Task, a args) (int64, unix.Errno) {
	f, e := t.writable(a.int(0))
	if e != 0 {
		return 0, e
	}
	return t.writeOn(f, t.one(a.addr(1), a[2]))
}

func sysReadv(t *Task, a args) (int64, unix.Errno) {
	f, e := t.readable(a.int(0))
	if e != 0 {
		return 0, e
	}
	s, e := t.vectors(a.addr(1), a.int(2))
	if e != 0 {
		return 0, e
	}
	return t.readOn(f, s)
}

func sysWritev(t *Task, a args) (int64, unix.Errno) {
	f, e := t.writable(a.int(0))
	if e != 0 {
		return 0, e
	}
	s, e := t.vectors(a.addr(1), a.int(2))
	if e != 0 {
		return 0, e
	}
	return t.writeOn(f, s)
}

// positioned checks the file and the offset of pread and pwrite.
func positioned(f *vfs.OpenFile, off int64) unix.Errno {
	switch {
	case off < 0:
		return unix.EINVAL
	case !f.File.Seekable():
		return unix.ESPIPE
	}
	return 0
}

func sysPread64(t *Task, a args) (int64, unix.Errno) {
	return t.pread(a.int(0), t.one(a.addr(1), a[2]), a.i64(3))
}

func sysPwrite64(t *Task, a args) (int64, unix.Errno) {
	return t.pwrite(a.int(0), t.one(a.addr(1), a[2]), a.i64(3))
}

func sysPreadv(t *Task, a args) (int64, unix.Errno) {
	s, e := t.vectors(a.addr(1), a.int(2))
	if e != 0 {
		return 0, e
	}
	return t.pread(a.int(0), s, a.i64(3))
}

func sysPwritev(t *Task, a args) (int64, unix.Errno) {
	s, e := t.vectors(a.addr(1), a.int(2))
	if e != 0 {
		return 0, e
	}
	return t.pwrite(a.int(0), s, a.i64(3))
}

func (t *Task) pread(fd int, s segments, off int64) (int64, unix.Errno) {
	f, e := t.readable(fd)
	if e == 0 {
		e = positioned(f, off)
	}
	if e != 0 {
		return 0, e
	}
	return t.read(f, s, getAt(f, off), nil)
}

func (t *Task) pwrite(fd int, s segments, off int64) (int64, unix.Errno) {
	f, e := t.writable(fd)
	if e == 0 {
		e = positioned(f, off)
	}
	if e != 0 {
		return 0, e
	}
	return t.write(f, s, putAt(f, off))
}

func sysLseek(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 {
		return 0, e
	}
	if f.Flags&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	off, err := f.Seek(a.i64(1), a.int(2))
	return off, errnoOf(err)
}

func sysFtruncate(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 {
		return 0, e
	}
	if a.i64(1) < 0 || f.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, unix.EINVAL
	}
	return 0, errnoOf(f.File.Truncate(a.i64(1)))
}

func sysFallocate(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	mode, off, size := a.u32(1), a.i64(2), a.i64(3)
	const punch, keep = unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_KEEP_SIZE
	switch {
	case e != 0:
		return 0, e
	case off < 0 || size <= 0:
		return 0, unix.EINVAL
	case mode&punch != 0 && mode&keep == 0:
		return 0, unix.EOPNOTSUPP
	case !f.CanWrite():
		return 0, unix.EBADF
	case off > math.MaxInt64-size:
		return 0, unix.EFBIG
	}
	if o, ok := f.File.(vfs.Allocator); ok {
		return 0, errnoOf(o.Allocate(mode, off, size))
	}
	switch st, err := f.File.Stat(); {
	case err != nil:
		return 0, errnoOf(err)
	case st.Type() == unix.S_IFIFO:
		return 0, unix.ESPIPE
	default:
		return 0, unix.ENODEV
	}
}

func sysFsync(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	switch {
	case e != 0 || f.Flags&unix.O_PATH != 0:
		return 0, unix.EBADF
	case vfs.InMemory(f.File):
		return 0, 0
	}
	if s, ok := f.File.(vfs.Syncer); ok {
		return 0, errnoOf(s.Sync())
	}
	if st, err := f.File.Stat(); err == nil && (st.Type() == unix.S_IFREG || st.Type() == unix.S_IFDIR) {
		return 0, 0
	}
	return 0, unix.EINVAL // what is no file has nothing to sync
}

// sysFadvise64 takes no advice.
func sysFadvise64(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	switch {
	case e != 0 || f.Flags&unix.O_PATH != 0:
		return 0, unix.EBADF
	case vfs.IsPipe(f.File):
		return 0, unix.ESPIPE
	case a.i64(2) < 0 || a.u32(3) > unix.FADV_NOREUSE:
		return 0, unix.EINVAL
	}
	return 0, 0
}

func sysSyncfs(t *Task, a args) (int64, unix.Errno) {
	_, e := t.file(a.int(0))
	return 0, e
}

// sysSendfile moves bytes between two files. Like on Linux the input must have
// positions; what the output did not take is read again later.
func sysSendfile(t *Task, a args) (int64, unix.Errno) {
	out, e := t.writable(a.int(0))
	if e != 0 {
		return 0, e
	}
	in, e := t.readable(a.int(1))
	if e != 0 {
		return 0, e
	}
	switch st, err := in.File.Stat(); {
	case err != nil:
		return 0, errnoOf(err)
	case st.IsDir(), !in.File.Seekable(), out.Flags&unix.O_APPEND != 0 && out.File.Seekable():
		return 0, unix.EINVAL
	}
	from, e := t.offsetArg(in, a.addr(2))
	switch {
	case e != 0:
		return 0, e
	case from.pos < 0:
		return 0, unix.EINVAL
	}
	total := int64(min(a[3], maxIO))
	done := int64(0)
	for done < total {
		p := t.k.scratch[:min(total-done, scratchSize)]
		n, err := in.File.ReadAt(p, from.pos+done)
		if err != nil || n == 0 {
			e = errnoOf(err)
			break
		}
		n, err = out.Write(p[:n])
		done += int64(n)
		if e = errnoOf(err); e != 0 || n == 0 {
			break
		}
		if t.deliverable() != 0 {
			break
		}
	}
	if e == unix.EPIPE {
		t.send(kernelSignal(int(unix.SIGPIPE)))
	}
	if done == 0 && e == unix.EAGAIN && !nonblocking(out) {
		return t.block(errRestartSys, out.File.Queue())
	}
	if done == 0 && e != 0 {
		return 0, e
	}
	return done, t.moved(from, done)
}

// Layout of struct linux_dirent64 (linux/dirent.h).
const (
	direntHead = 19
	direntMin  = 24
)

func sysGetdents64(t *Task, a args) (int64, unix.Errno) {
	f, e := t.readable(a.int(0))
	if e != 0 {
		return 0, e
	}
	room := int(min(uint64(a.u32(2)), scratchSize))
	pos, err := f.Seek(0, 1)
	if err != nil {
		return 0, unix.ENOTDIR
	}
	list, err := f.File.Readdir(pos, room/direntMin+1)
	if err != nil {
		return 0, errnoOf(err)
	}
	out := t.k.scratch[:0]
	for _, d := range list {
		size := (direntHead + len(d.Name) + 1 + 7) &^ 7
		if len(out)+size > room {
			break
		}
		rec := out[len(out) : len(out)+size]
		clear(rec)
		le.PutUint64(rec[0:], d.Ino)
		le.PutUint64(rec[8:], uint64(d.Next))
		le.PutUint16(rec[16:], uint16(size))
		rec[18] = d.Type
		copy(rec[direntHead:], d.Name)
		out = out[:len(out)+size]
		pos = d.Next
	}
	if len(out) == 0 && len(list) > 0 {
		return 0, unix.EINVAL // not even one fits
	}
	if e := t.copyOut(arch.Addr(a[1]), out); e != 0 {
		return 0, e
	}
	_, err = f.Seek(pos, 0)
	return int64(len(out)), errnoOf(err)
}
