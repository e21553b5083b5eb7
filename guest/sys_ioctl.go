package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// Numbers of ioctls that x/sys/unix does not have (asm-generic/ioctls.h).
const (
	ioFionbio  = 0x5421
	ioFionclex = 0x5450
	ioFioclex  = 0x5451
	ioTCFLSH   = 0x540b
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
	if m, ok := f.File.(*vfs.PTYMaster); ok {
		if v, e, ok := t.masterIoctl(m, cmd, arg); ok {
			return v, e
		}
	}
	if c := vfs.ControlOf(f.File); c != nil {
		if e, ok := t.sessionIoctl(c, cmd, arg); ok {
			return 0, e
		}
		if changesTTY(cmd) {
			if e := t.mayUse(c, unix.SIGTTOU); e != 0 {
				return 0, e
			}
		}
	}
	if tty := ttyOf(f.File); tty != nil {
		if e, ok := t.ttyIoctl(tty, cmd, arg); ok {
			return 0, e
		}
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

// ttyOf is the terminal that a file is either side of.
func ttyOf(f vfs.File) *vfs.TTY {
	if m, ok := f.(*vfs.PTYMaster); ok {
		return m.TTY
	}
	return vfs.TTYOf(f)
}

// changesTTY says that a process in the background may not make this request.
func changesTTY(cmd uint32) bool {
	switch cmd {
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2,
		unix.TCSBRK, unix.TCSBRKP, unix.TCXONC, ioTCFLSH, unix.TIOCSPGRP:
		return true
	}
	return false
}

// ttyIoctl does requests to a terminal of the guest's that need more than bytes
// in and out; ok says that cmd is one of them.
func (t *Task) ttyIoctl(tty *vfs.TTY, cmd uint32, arg arch.Addr) (e unix.Errno, ok bool) {
	switch cmd {
	case ioTCFLSH:
		if arg > unix.TCIOFLUSH {
			return unix.EINVAL, true
		}
		tty.Flush(arg != unix.TCOFLUSH, arg != unix.TCIFLUSH)
	case unix.TCXONC:
		switch arg {
		case unix.TCOOFF, unix.TCOON:
			tty.Flow(arg == unix.TCOOFF)
		case unix.TCIOFF, unix.TCION: // whoever types is not told
		default:
			return unix.EINVAL, true
		}
	case unix.TCSBRK, unix.TCSBRKP, unix.TIOCEXCL, unix.TIOCNXCL:
	case unix.TIOCSTI:
		return unix.EPERM, true
	default:
		return 0, false
	}
	return 0, true
}

// sessionIoctl does the requests that concern processes.
func (t *Task) sessionIoctl(c *vfs.Control, cmd uint32, arg arch.Addr) (e unix.Errno, ok bool) {
	k := t.k
	own := k.tty.controls[t.sid] == c
	switch cmd {
	case unix.TIOCGPGRP:
		if !own {
			return unix.ENOTTY, true
		}
		return t.storeU32(arg, uint32(c.Foreground)), true
	case unix.TIOCGSID:
		if !own {
			return unix.ENOTTY, true
		}
		return t.storeU32(arg, uint32(c.Session)), true
	case unix.TIOCSPGRP:
		if e := t.mayUse(c, unix.SIGTTOU); e != 0 {
			return e, true
		}
		if !own {
			return unix.ENOTTY, true
		}
		pgid, e := t.loadU32(arg)
		switch {
		case e != 0:
			return e, true
		case int32(pgid) < 0:
			return unix.EINVAL, true
		case !k.groupInUse(int(pgid)):
			return unix.ESRCH, true
		case !k.groupInSession(int(pgid), t.sid):
			return unix.EPERM, true
		}
		c.Foreground = int(pgid)
	case unix.TIOCSCTTY:
		switch {
		case t.pid == t.sid && own:
		case t.pid != t.sid || k.tty.controls[t.sid] != nil:
			return unix.EPERM, true
		case c.Session != 0 && arg != 1:
			return unix.EPERM, true
		default:
			if c.Session != 0 {
				k.dropControl(c) // stolen, as root may
			}
			k.setControl(t.Process, c)
		}
	case unix.TIOCNOTTY:
		if !own {
			return unix.ENOTTY, true
		}
		if t.pid != t.sid {
			return 0, true // a process by itself cannot leave here
		}
		fg := c.Foreground
		k.dropControl(c)
		k.signalGroup(fg, kernelSignal(int(unix.SIGHUP)))
		k.signalGroup(fg, kernelSignal(int(unix.SIGCONT)))
	default:
		return 0, false
	}
	return 0, true
}

// masterIoctl does the requests of the other side of a pseudo-terminal.
func (t *Task) masterIoctl(m *vfs.PTYMaster, cmd uint32, arg arch.Addr) (v int64, e unix.Errno, ok bool) {
	c := &m.TTY.Control
	switch cmd {
	case unix.TIOCGPTN:
		return 0, t.storeU32(arg, uint32(m.Number)), true
	case unix.TIOCSPTLCK:
		on, e := t.loadU32(arg)
		if e == 0 {
			m.Locked = on != 0
		}
		return 0, e, true
	case unix.TIOCGPTLCK:
		on := uint32(0)
		if m.Locked {
			on = 1
		}
		return 0, t.storeU32(arg, on), true
	case unix.TIOCGPTPEER:
		p := t.k.tty.ptys[m.Number]
		flags := int(arg)
		f, err := t.k.openTTY(p, flags)
		if err != nil {
			return 0, errnoOf(err), true
		}
		v, e := t.install(newOpenFile(f, flags, t.k.ptyDentry(p)), flags&unix.O_CLOEXEC != 0)
		return v, e, true
	case unix.TIOCGPGRP:
		return 0, t.storeU32(arg, uint32(c.Foreground)), true
	case unix.TIOCGSID:
		if c.Session == 0 {
			return 0, unix.ENOTTY, true
		}
		return 0, t.storeU32(arg, uint32(c.Session)), true
	case unix.TIOCSIG:
		if arg == 0 || arg > numSignals {
			return 0, unix.EINVAL, true
		}
		if c.Foreground != 0 {
			t.k.signalGroup(c.Foreground, kernelSignal(int(arg)))
		}
		return 0, 0, true
	case unix.TIOCSPGRP, unix.TIOCSCTTY, unix.TIOCNOTTY:
		return 0, unix.ENOTTY, true
	}
	return 0, 0, false
}
