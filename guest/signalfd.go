package guest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
	"goskas/guest/wait"
	"goskas/internal/abi"
)

// signalfd gives the pending signals of whoever reads it.
type signalfd struct {
	vfs.NoFile
	k    *Kernel
	mask uint64
	// maker stands in for the reader where nobody reads.
	maker *Task
}

// Size and fields of struct signalfd_siginfo (linux/signalfd.h).
const (
	ssiSize       = 128
	ssiOffSigno   = 0
	ssiOffCode    = 8
	ssiOffPID     = 12
	ssiOffUID     = 16
	ssiOffTID     = 24
	ssiOffOverrun = 32
	ssiOffStatus  = 40
	ssiOffInt     = 44
	ssiOffPtr     = 48
	ssiOffUtime   = 56
	ssiOffStime   = 64
	ssiOffAddr    = 72
)

func (f *signalfd) Stat() (vfs.Stat, error) { return vfs.AnonStat(), nil }
func (f *signalfd) LinkName() string        { return "anon_inode:[signalfd]" }
func (f *signalfd) SeekNowhere()            {}

// FDInfo is what /proc/pid/fdinfo has beside the usual.
func (f *signalfd) FDInfo() string { return fmt.Sprintf("sigmask:\t%016x\n", f.mask) }

func (f *signalfd) reader() *Task {
	if t := f.k.current; t != nil {
		return t
	}
	return f.maker
}

func (f *signalfd) Queue() *wait.Queue { return &f.reader().sigNews }

func (f *signalfd) Ready() int16 {
	t := f.reader()
	if (t.pending.set|t.shared.set)&f.mask != 0 {
		return unix.POLLIN
	}
	return 0
}

func (f *signalfd) Read(p []byte) (int, error) {
	if len(p) < ssiSize {
		return 0, unix.EINVAL
	}
	t, n := f.reader(), 0
	for len(p)-n >= ssiSize {
		in, ok := t.dequeue(f.mask)
		if !ok {
			break
		}
		in.signalfdInfo(p[n : n+ssiSize])
		n += ssiSize
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}

// signalfdInfo fills in a struct signalfd_siginfo.
func (in *sigInfo) signalfdInfo(p []byte) {
	clear(p)
	b := in.bytes()
	code := in.codeValue()
	le.PutUint32(p[ssiOffSigno:], uint32(in.no))
	le.PutUint32(p[ssiOffCode:], uint32(code))
	switch {
	case in.isFault:
		le.PutUint64(p[ssiOffAddr:], uint64(in.addr))
	case code == abi.SI_TIMER:
		le.PutUint32(p[ssiOffTID:], le.Uint32(b[abi.SI_OFF_TIMERID:]))
		le.PutUint32(p[ssiOffOverrun:], le.Uint32(b[abi.SI_OFF_OVERRUN:]))
		le.PutUint64(p[ssiOffPtr:], le.Uint64(b[abi.SI_OFF_VALUE:]))
		le.PutUint32(p[ssiOffInt:], le.Uint32(b[abi.SI_OFF_VALUE:]))
	default:
		le.PutUint32(p[ssiOffPID:], le.Uint32(b[abi.SI_OFF_PID:]))
		le.PutUint32(p[ssiOffUID:], le.Uint32(b[abi.SI_OFF_UID:]))
		if in.no == int(unix.SIGCHLD) && code > 0 {
			le.PutUint32(p[ssiOffStatus:], le.Uint32(b[abi.SI_OFF_STATUS:]))
			le.PutUint64(p[ssiOffUtime:], in.utime)
			le.PutUint64(p[ssiOffStime:], in.stime)
		} else if code < 0 && code != abi.SI_TKILL {
			le.PutUint64(p[ssiOffPtr:], le.Uint64(b[abi.SI_OFF_VALUE:]))
			le.PutUint32(p[ssiOffInt:], le.Uint32(b[abi.SI_OFF_VALUE:]))
		}
	}
}

func sysSignalfd(t *Task, a args) (int64, unix.Errno) { return sysSignalfd4(t, args{a[0], a[1], a[2]}) }

func sysSignalfd4(t *Task, a args) (int64, unix.Errno) {
	mask, e := t.loadSigset(a.addr(1), a[2])
	if e != 0 {
		return 0, e
	}
	mask &^= unblockable
	if a.int(3)&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	if a.int(0) == -1 {
		return t.installNew(&signalfd{k: t.k, mask: mask, maker: t}, a.int(3))
	}
	f, e := fileAs[*signalfd](t, a.int(0))
	if e != 0 {
		return 0, e
	}
	f.mask = mask
	t.sigNews.Wake()
	return int64(a.int(0)), 0
}
