package guest

import (
	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// maxFiles is the highest limit on descriptors that a process may set.
const maxFiles = 4096

// nonblocking says that f's operations must not wait.
func nonblocking(f *vfs.OpenFile) bool { return f.Flags&unix.O_NONBLOCK != 0 }

func sysClose(t *Task, a args) (int64, unix.Errno) { return 0, errnoOf(t.files.Close(a.int(0))) }

// Flags of close_range (linux/close_range.h).
const (
	closeRangeUnshare = 1 << 1
	closeRangeCloexec = 1 << 2
)

func sysCloseRange(t *Task, a args) (int64, unix.Errno) {
	first, last, flags := a.u32(0), a.u32(1), a.u32(2)
	if first > last || flags&^(closeRangeUnshare|closeRangeCloexec) != 0 {
		return 0, unix.EINVAL
	}
	if flags&closeRangeUnshare != 0 && t.files.refs > 1 {
		f := t.files.fork()
		t.files.unref()
		t.files = f
	}
	// A descriptor that is not open is no error.
	for fd := first; fd <= min(last, maxFiles); fd++ {
		if flags&closeRangeCloexec != 0 {
			_ = t.files.SetCloseOnExec(int(fd), true)
		} else {
			_ = t.files.Close(int(fd))
		}
	}
	return 0, 0
}

func sysDup(t *Task, a args) (int64, unix.Errno) { return t.dup(a.int(0), 0, false) }

// dup makes another descriptor, at least low, for the open file of fd.
func (t *Task) dup(fd, low int, cloexec bool) (int64, unix.Errno) {
	n, err := t.files.Dup(fd, low, cloexec)
	return int64(n), errnoOf(err)
}

func sysDup2(t *Task, a args) (int64, unix.Errno) {
	if a.int(0) == a.int(1) {
		_, e := t.file(a.int(0))
		return int64(a.int(1)), e
	}
	return int64(a.int(1)), errnoOf(t.files.DupTo(a.int(0), a.int(1), false))
}

func sysDup3(t *Task, a args) (int64, unix.Errno) {
	if a.int(2)&^unix.O_CLOEXEC != 0 || a.int(0) == a.int(1) {
		return 0, unix.EINVAL
	}
	return int64(a.int(1)), errnoOf(t.files.DupTo(a.int(0), a.int(1), a.int(2) != 0))
}

func sysPipe(t *Task, a args) (int64, unix.Errno) { return sysPipe2(t, args{a[0], 0}) }

func sysPipe2(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(1)
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	r, w := t.k.pipes.New()
	cloexec, nonblock := flags&unix.O_CLOEXEC != 0, flags&unix.O_NONBLOCK
	rfd, e := t.install(newOpenFile(r, unix.O_RDONLY|nonblock, nil), cloexec)
	if e != 0 {
		_ = w.Close()
		return 0, e
	}
	wfd, e := t.install(newOpenFile(w, unix.O_WRONLY|nonblock, nil), cloexec)
	if e == 0 {
		e = t.storeU64(a.addr(0), uint64(rfd)|uint64(wfd)<<32)
		if e == 0 {
			return 0, 0
		}
		_ = t.files.Close(int(wfd))
	}
	_ = t.files.Close(int(rfd))
	return 0, e
}

// Flags that F_SETFL can change.
const settable = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME | unix.O_ASYNC

func sysFcntl(t *Task, a args) (int64, unix.Errno) {
	fd, arg := a.int(0), a.int(2)
	f, e := t.file(fd)
	if e != 0 {
		return 0, e
	}
	switch a.int(1) {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		if arg < 0 || uint64(arg) >= t.rlimits[unix.RLIMIT_NOFILE].Cur {
			return 0, unix.EINVAL
		}
		return t.dup(fd, arg, a.int(1) == unix.F_DUPFD_CLOEXEC)
	case unix.F_GETFD:
		on, err := t.files.CloseOnExec(fd)
		if on {
			return unix.FD_CLOEXEC, 0
		}
		return 0, errnoOf(err)
	case unix.F_SETFD:
		return 0, errnoOf(t.files.SetCloseOnExec(fd, arg&unix.FD_CLOEXEC != 0))
	case unix.F_GETFL:
		const atOpen = unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_CLOEXEC
		fl := f.Flags &^ atOpen
		if f.Dentry != nil { // open sets it, pipe and the like do not
			fl |= largeFile
		}
		return int64(fl), 0
	case unix.F_SETFL:
		f.Flags = f.Flags&^settable | arg&settable
		return 0, 0
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, fOFDGetlk, fOFDSetlk, fOFDSetlkw:
		return t.fcntlLock(f, a)
	case unix.F_GET_SEALS:
		o, e := sealable(f)
		if e != 0 {
			return 0, e
		}
		return int64(o.Seals()), 0
	case unix.F_ADD_SEALS:
		return 0, t.addSeals(f, arg)
	case unix.F_GETOWN, unix.F_SETOWN:
		return 0, 0
	case unix.F_GETPIPE_SZ:
		if f.Dentry != nil {
			return 0, unix.EBADF
		}
		return 64 << 10, 0
	}
	return 0, unix.EINVAL
}

// largeFile is the O_LARGEFILE that 64-bit Linux reports and x/sys/unix has as
// 0.
const largeFile = 0o100000
