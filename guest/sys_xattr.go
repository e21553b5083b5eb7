package guest

import "golang.org/x/sys/unix"

// There are no extended attributes: of a file that is there, the calls say that
// its file system has none.

func sysXattr(follow bool) handler {
	return func(t *Task, a args) (int64, unix.Errno) {
		if _, e := t.lookup(cwdFD, a.addr(0), follow); e != 0 {
			return 0, e
		}
		return 0, unix.EOPNOTSUPP
	}
}

func sysFxattr(t *Task, a args) (int64, unix.Errno) {
	if f, e := t.file(a.int(0)); e != 0 || f.Flags&unix.O_PATH != 0 {
		return 0, unix.EBADF
	}
	return 0, unix.EOPNOTSUPP
}
