package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// Layout of struct cmsghdr (linux/socket.h), and limits: SCM_MAX_FD (net/scm.h)
// and net.core.optmem_max.
const (
	cmsgSize   = 16
	cmsgAlign  = 8
	credSize   = 12
	maxScmFDs  = 253
	maxControl = 131072
)

func cmsgSpace(n int) int { return (n + cmsgAlign - 1) &^ (cmsgAlign - 1) }

// loadControl reads what goes beside the bytes: open files, without references
// for the message yet, and who sends.
func (t *Task) loadControl(m *msghdr) (files []*vfs.OpenFile, c vfs.Cred, e unix.Errno) {
	c = t.cred()
	if m.control == 0 || m.ctlSize == 0 {
		return nil, c, 0
	}
	if m.ctlSize > maxControl {
		return nil, c, unix.ENOBUFS
	}
	raw := make([]byte, m.ctlSize)
	if e := t.copyIn(m.control, raw); e != 0 {
		return nil, c, e
	}
	for len(raw) >= cmsgSize {
		size := le.Uint64(raw)
		level, kind := int32(le.Uint32(raw[8:])), le.Uint32(raw[12:])
		if size < cmsgSize || size > uint64(len(raw)) {
			return nil, c, unix.EINVAL
		}
		p := raw[cmsgSize:size]
		raw = raw[min(cmsgSpace(int(size)), len(raw)):]
		switch {
		case level != unix.SOL_SOCKET:
		case kind == unix.SCM_RIGHTS:
			for ; len(p) >= 4; p = p[4:] {
				f, e := t.file(int(int32(le.Uint32(p))))
				if e != 0 {
					return nil, c, e
				}
				files = append(files, f)
			}
			if len(files) > maxScmFDs {
				return nil, c, unix.EINVAL
			}
		case kind == unix.SCM_CREDENTIALS && len(p) == credSize:
			// Everybody is root here, and may say what it likes.
			c = vfs.Cred{Pid: int32(le.Uint32(p)), UID: le.Uint32(p[4:]), GID: le.Uint32(p[8:])}
			if t.k.tasks[int(c.Pid)] == nil {
				return nil, c, unix.ESRCH
			}
		default:
			return nil, c, unix.EINVAL
		}
	}
	return files, c, 0
}

// storeControl writes what came beside the bytes: the sender, if s asks for it,
// and descriptors for the files, which it takes over. The flags say what had no
// room.
func (t *Task) storeControl(s *vfs.Socket, m *msghdr, r *received, flags int) (got int, used uint64, e unix.Errno) {
	w := controlWriter{t: t, at: m.control, room: int(min(m.ctlSize, maxControl))}
	if w.at == 0 {
		w.room = 0
	}
	cloexec := flags & unix.MSG_CMSG_CLOEXEC
	defer func() { closeAll(r.files) }()
	if s.PassCred {
		var b [credSize]byte
		le.PutUint32(b[0:], uint32(r.cred.Pid))
		le.PutUint32(b[4:], r.cred.UID)
		le.PutUint32(b[8:], r.cred.GID)
		if e := w.put(unix.SCM_CREDENTIALS, b[:]); e != 0 {
			return 0, 0, e
		}
	}
	if len(r.files) > 0 {
		var fds []byte
		for len(r.files) > 0 && len(fds)+4 <= w.room-cmsgSize {
			fd, e := t.install(r.files[0].Ref(), cloexec != 0)
			if e != 0 {
				break
			}
			_ = r.files[0].Unref()
			r.files = r.files[1:]
			fds = le.AppendUint32(fds, uint32(fd))
		}
		if len(r.files) > 0 {
			w.truncated = true
		}
		if len(fds) > 0 {
			if e := w.put(unix.SCM_RIGHTS, fds); e != 0 {
				return 0, 0, e
			}
		}
	}
	if w.truncated {
		cloexec |= unix.MSG_CTRUNC
	}
	return cloexec, w.used, 0
}

// controlWriter puts control messages one behind the other (put_cmsg in
// net/core/scm.c).
type controlWriter struct {
	t         *Task
	at        arch.Addr
	room      int
	used      uint64
	truncated bool
}

func (w *controlWriter) put(kind uint32, p []byte) unix.Errno {
	if w.room < cmsgSize {
		w.truncated = true
		return 0
	}
	size := cmsgSize + len(p)
	if size > w.room {
		w.truncated, size = true, w.room
	}
	b := make([]byte, cmsgSize, cmsgSize+len(p))
	le.PutUint64(b, uint64(size))
	le.PutUint32(b[8:], unix.SOL_SOCKET)
	le.PutUint32(b[12:], kind)
	if e := w.t.copyOut(w.at, append(b, p...)[:size]); e != 0 {
		return e
	}
	n := min(cmsgSpace(size), w.room)
	w.at += arch.Addr(n)
	w.room -= n
	w.used += uint64(n)
	return 0
}

func closeAll(files []*vfs.OpenFile) {
	for _, f := range files {
		_ = f.Unref() // nobody is there to be told
	}
}
