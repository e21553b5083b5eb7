package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// tty is the console: its bytes, and whom its signals concern.
type tty struct {
	console    *vfs.Console
	std        [3]vfs.File // standard input, output and error
	foreground int         // process group
}

// Numbers of ioctls that x/sys/unix does not have (asm-generic/ioctls.h).
const (
	ioFionbio  = 0x5421
	ioFionclex = 0x5450
	ioFioclex  = 0x5451
)

func sysIoctl(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 {
		return 0, e
	}
	cmd, arg := a.u32(1), a.addr(2)
	switch cmd {
	case ioFioclex, ioFionclex:
		return 0, errnoOf(t.files.SetCloseOnExec(a.int(0), cmd == ioFioclex))
	case ioFionbio:
		on, e := t.loadU32(arg)
		if e != 0 {
			return 0, e
		}
		f.Flags &^= unix.O_NONBLOCK
		if on != 0 {
			f.Flags |= unix.O_NONBLOCK
		}
		return 0, 0
	}
	if e, ok := t.ttyIoctl(f, cmd, arg); ok {
		return 0, e
	}
	in, out, ok := vfs.IoctlArg(cmd)
	if !ok {
		return 0, unix.ENOTTY
	}
	buf := make([]byte, max(in, out))
	if e := t.copyIn(arg, buf[:in]); e != 0 {
		return 0, e
	}
	if err := f.File.Ioctl(cmd, buf); err != nil {
		return 0, errnoOf(err)
	}
	return 0, t.copyOut(arg, buf[:out])
}

// ttyIoctl does the requests that concern processes; ok says that cmd is one
// of them.
func (t *Task) ttyIoctl(f *vfs.OpenFile, cmd uint32, arg arch.Addr) (e unix.Errno, ok bool) {
	switch cmd {
	case unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGSID, unix.TIOCSCTTY, unix.TIOCNOTTY:
	default:
		return 0, false
	}
	var termios [36]byte
	if err := f.File.Ioctl(unix.TCGETS, termios[:]); err != nil {
		return unix.ENOTTY, true
	}
	k := t.k
	switch cmd {
	case unix.TIOCGPGRP:
		return t.storeU32(arg, uint32(k.tty.foreground)), true
	case unix.TIOCGSID:
		return t.storeU32(arg, uint32(t.sid)), true
	case unix.TIOCSPGRP:
		pgid, e := t.loadU32(arg)
		switch {
		case e != 0:
			return e, true
		case int32(pgid) < 0:
			return unix.EINVAL, true
		case !k.groupInSession(int(pgid), t.sid):
			return unix.EPERM, true
		}
		k.tty.foreground = int(pgid)
	}
	return 0, true
}
