package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

func sysGetsockopt(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	room, e := t.loadU32(a.addr(4))
	switch {
	case e != 0:
		return 0, e
	case int32(room) < 0:
		return 0, unix.EINVAL
	case a.int(1) != unix.SOL_SOCKET:
		return 0, unix.EOPNOTSUPP
	}
	var b [16]byte
	size := 4
	switch opt := a.int(2); opt {
	case unix.SO_PEERCRED:
		c := s.PeerCred()
		le.PutUint32(b[0:], uint32(c.Pid))
		le.PutUint32(b[4:], c.UID)
		le.PutUint32(b[8:], c.GID)
		size = 12
	case unix.SO_RCVTIMEO, unix.SO_SNDTIMEO:
		sec, nsec := splitTime(*sockTimeout(s, opt))
		le.PutUint64(b[0:], sec)
		le.PutUint64(b[8:], nsec/1000)
		size = 16
	case unix.SO_LINGER:
		le.PutUint64(b[:], s.Options[opt])
		size = 8
	default:
		v, ok := sockValue(s, opt)
		if !ok {
			return 0, unix.ENOPROTOOPT
		}
		le.PutUint32(b[:], v)
	}
	size = min(size, int(room))
	if e := t.copyOut(a.addr(3), b[:size]); e != 0 {
		return 0, e
	}
	return 0, t.storeU32(a.addr(4), uint32(size))
}

// sockValue is an option whose value is one number.
func sockValue(s *vfs.Socket, opt int) (v uint32, ok bool) {
	flag := func(on bool) uint32 {
		if on {
			return 1
		}
		return 0
	}
	switch opt {
	case unix.SO_TYPE:
		return uint32(s.Kind()), true
	case unix.SO_DOMAIN:
		return unix.AF_UNIX, true
	case unix.SO_PROTOCOL:
		return 0, true
	case unix.SO_ERROR:
		return uint32(s.TakeError()), true
	case unix.SO_ACCEPTCONN:
		return flag(s.Listening()), true
	case unix.SO_SNDBUF:
		return uint32(s.SndBuf), true
	case unix.SO_RCVBUF:
		return uint32(s.RcvBuf), true
	case unix.SO_PASSCRED:
		return flag(s.PassCred), true
	case unix.SO_RCVLOWAT, unix.SO_SNDLOWAT:
		return 1, true
	case unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_KEEPALIVE, unix.SO_BROADCAST, unix.SO_PRIORITY, unix.SO_DEBUG, unix.SO_OOBINLINE, unix.SO_TIMESTAMP:
		return uint32(s.Options[opt]), true
	}
	return 0, false
}

// sockTimeout is what SO_RCVTIMEO or SO_SNDTIMEO sets.
func sockTimeout(s *vfs.Socket, opt int) *time.Duration {
	if opt == unix.SO_RCVTIMEO {
		return &s.RcvTimeout
	}
	return &s.SndTimeout
}

func sysSetsockopt(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	size := a.int(4)
	switch {
	case size < 0:
		return 0, unix.EINVAL
	case a.int(1) != unix.SOL_SOCKET:
		return 0, unix.EOPNOTSUPP
	case size < 4:
		return 0, unix.EINVAL
	}
	var b [16]byte
	if e := t.copyIn(a.addr(3), b[:min(size, len(b))]); e != 0 {
		return 0, e
	}
	v := le.Uint32(b[:])
	switch opt := a.int(2); opt {
	case unix.SO_SNDBUF, unix.SO_SNDBUFFORCE:
		s.SetBuf(true, v)
	case unix.SO_RCVBUF, unix.SO_RCVBUFFORCE:
		s.SetBuf(false, v)
	case unix.SO_PASSCRED:
		s.PassCred = v != 0
	case unix.SO_RCVTIMEO, unix.SO_SNDTIMEO:
		sec, usec := int64(le.Uint64(b[0:])), le.Uint64(b[8:])
		switch {
		case size < 16:
			return 0, unix.EINVAL
		case usec >= 1e6:
			return 0, unix.EDOM
		case sec < 0:
			sec, usec = 0, 0
		}
		d, e := timeval(uint64(sec), usec)
		if e != 0 {
			return 0, e
		}
		*sockTimeout(s, opt) = d
	case unix.SO_LINGER:
		if size < 8 {
			return 0, unix.EINVAL
		}
		s.SetOption(opt, le.Uint64(b[:]))
	case unix.SO_RCVLOWAT:
	case unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_KEEPALIVE, unix.SO_BROADCAST, unix.SO_DEBUG, unix.SO_OOBINLINE, unix.SO_TIMESTAMP:
		on := uint64(0)
		if v != 0 {
			on = 1
		}
		s.SetOption(opt, on)
	case unix.SO_PRIORITY:
		s.SetOption(opt, uint64(v))
	default:
		return 0, unix.ENOPROTOOPT
	}
	return 0, 0
}
