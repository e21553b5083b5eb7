package guest

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// tty is the terminals of the machine.
type tty struct {
	console *vfs.Console // the host's descriptors, passed through
	// terminal and host are the guest's own terminal, instead of that.
	terminal *vfs.TTY
	host     *vfs.HostTerminal
	std      [3]vfs.File // standard input, output and error
	control  *vfs.Control
	device   *vfs.Device // /dev/console
	// controls has the controlling terminals by session.
	controls map[int]*vfs.Control
	ptys     map[int]*pty // by number; the guest's own terminal is 0
}

// pty is an entry of /dev/pts.
type pty struct {
	number int
	tty    *vfs.TTY
	master *vfs.PTYMaster // nil for the console
	node   *vfs.Device
}

// initTTY makes the console: the host's descriptors, passed through, or a
// terminal of the guest's own on them.
func (k *Kernel) initTTY() error {
	lock := func(f func()) {
		k.mu.Lock()
		defer k.mu.Unlock()
		f()
	}
	if k.cfg.Terminal {
		p := k.newPTY()
		p.tty.Termios.Iflag |= unix.IUTF8
		host, err := vfs.NewHostTerminal(p.tty, k.cfg.Stdin, k.cfg.Stdout, lock)
		if err != nil {
			return fmt.Errorf("console: %w", err)
		}
		k.tty.terminal, k.tty.host, k.tty.control = p.tty, host, &p.tty.Control
		return nil
	}
	console, err := vfs.NewConsole(lock)
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	k.tty.console = console
	for fd, f := range []*os.File{k.cfg.Stdin, k.cfg.Stdout, k.cfg.Stderr} {
		k.tty.std[fd] = console.File(f)
	}
	k.tty.control = console.Control()
	k.tty.control.Open = func() (vfs.File, error) { return k.openConsole(nil, 0) }
	return nil
}

// closeTTY is to be called without the lock.
func (k *Kernel) closeTTY() {
	if k.tty.console != nil {
		k.tty.console.Close()
	}
	if k.tty.host != nil {
		k.tty.host.Close()
	}
}

// takeConsole makes the console process 1's.
func (k *Kernel) takeConsole(p *Process) {
	clear(k.tty.controls)
	c := k.tty.control
	if k.tty.terminal != nil || vfs.ControlOf(k.tty.std[0]) == c {
		k.setControl(p, c)
		return
	}
	// No terminal; but Interrupt has to know whom it concerns.
	c.Session, c.Foreground = p.sid, p.pgid
}

// stdFiles are the descriptors 0 to 2 of process 1.
func (k *Kernel) stdFiles() (files []*vfs.OpenFile, err error) {
	if k.tty.terminal != nil {
		p := k.tty.ptys[0]
		f, err := p.tty.Open(p.node)
		if err != nil {
			return nil, err
		}
		o := newOpenFile(f, unix.O_RDWR, k.ptyDentry(p))
		return []*vfs.OpenFile{o, o.Ref(), o.Ref()}, nil
	}
	for fd, f := range k.tty.std {
		flags := unix.O_WRONLY
		if fd == 0 {
			flags = unix.O_RDONLY
		}
		files = append(files, newOpenFile(f, flags, nil))
	}
	return files, nil
}

// openConsole opens /dev/console.
func (k *Kernel) openConsole(d *vfs.Device, _ int) (vfs.File, error) {
	if k.tty.terminal != nil {
		return k.tty.terminal.Open(d)
	}
	if d == nil {
		d = k.tty.device
	}
	return &ttyFile{node: d, in: k.tty.std[0], out: k.tty.std[1]}, nil
}

// maxPTYs is kernel.pty.max, and the major number of the devices
// (Documentation/admin-guide/devices.txt).
const (
	maxPTYs  = 4096
	ptyMajor = 136
	ptyInode = 3 // of number 0
)

// newPTY makes a terminal with the lowest free number.
func (k *Kernel) newPTY() *pty {
	n := 0
	for k.tty.ptys[n] != nil {
		n++
	}
	if n >= maxPTYs {
		return nil
	}
	p := &pty{number: n, tty: vfs.NewTTY()}
	p.tty.Signal = func(pgrp int, sig unix.Signal) { k.signalGroup(pgrp, kernelSignal(int(sig))) }
	p.node = &vfs.Device{Ino: ptyInode + uint64(n), Rdev: unix.Mkdev(ptyMajor, uint32(n)), OpenFn: func(d *vfs.Device, flags int) (vfs.File, error) {
		if p.master != nil && p.master.Locked {
			return nil, unix.EIO
		}
		return k.openTTY(p, flags)
	}}
	p.tty.Control.Rdev = p.node.Rdev
	p.tty.Control.Open = func() (vfs.File, error) { return p.tty.Open(p.node) }
	if k.tty.ptys == nil {
		k.tty.ptys = make(map[int]*pty)
	}
	k.tty.ptys[n] = p
	return p
}

// ptyDentry is where a terminal is in the tree.
func (k *Kernel) ptyDentry(p *pty) *vfs.Dentry {
	dir, err := k.ns.Walk(k.ns.Root(), devDir+"/pts", true)
	if err != nil {
		return nil // the guest has hidden it
	}
	return &vfs.Dentry{Parent: dir, Name: strconv.Itoa(p.number), Node: p.node}
}

// openTTY opens a terminal for the task of the current call, and makes it its
// session's if the session has none (tty_open_proc_set_tty).
func (k *Kernel) openTTY(p *pty, flags int) (vfs.File, error) {
	f, err := p.tty.Open(p.node)
	if t := k.current; err == nil && t != nil && flags&unix.O_NOCTTY == 0 &&
		t.sid == t.pid && k.tty.controls[t.sid] == nil && p.tty.Control.Session == 0 {
		k.setControl(t.Process, &p.tty.Control)
	}
	return f, err
}

// setControl makes c the controlling terminal of p's session.
func (k *Kernel) setControl(p *Process, c *vfs.Control) {
	if k.tty.controls == nil {
		k.tty.controls = make(map[int]*vfs.Control)
	}
	k.tty.controls[p.sid] = c
	c.Session, c.Foreground = p.sid, p.pgid
}

// dropControl takes the controlling terminal from a session.
func (k *Kernel) dropControl(c *vfs.Control) {
	delete(k.tty.controls, c.Session)
	c.Session, c.Foreground = 0, 0
}

// leaveSession is the end of p for its session: if p leads it, the foreground is
// told (disassociate_ctty, for pseudo-terminals).
func (k *Kernel) leaveSession(p *Process) {
	c := k.tty.controls[p.sid]
	if c == nil || p.pid != p.sid {
		return
	}
	fg := c.Foreground
	k.dropControl(c)
	k.signalGroup(fg, kernelSignal(int(unix.SIGHUP)))
}

// ptmx opens /dev/ptmx: a new terminal.
func (k *Kernel) ptmx(d *vfs.Device, _ int) (vfs.File, error) {
	p := k.newPTY()
	if p == nil {
		return nil, unix.ENOSPC
	}
	p.master = &vfs.PTYMaster{TTY: p.tty, Node: d, Number: p.number, Locked: true, Gone: func() {
		delete(k.tty.ptys, p.number)
		if c := &p.tty.Control; c.Session != 0 {
			if leader := k.procs[c.Session]; leader != nil {
				leader.send(kernelSignal(int(unix.SIGHUP)))
				leader.send(kernelSignal(int(unix.SIGCONT)))
			}
			k.dropControl(c)
		}
	}}
	return p.master, nil
}

// ptsDir is /dev/pts.
func (k *Kernel) ptsDir() vfs.Node {
	ptmx := &vfs.Device{Ino: 2, Rdev: unix.Mkdev(5, 2), OpenFn: k.ptmx}
	return &vfs.Dir{
		Ino: 210,
		Find: func(name string) (vfs.Node, error) {
			if name == "ptmx" {
				return ptmx, nil
			}
			if n, err := strconv.Atoi(name); err == nil && strconv.Itoa(n) == name {
				if p := k.tty.ptys[n]; p != nil {
					return p.node, nil
				}
			}
			return nil, unix.ENOENT
		},
		List: func() []vfs.Dirent {
			list := []vfs.Dirent{{Ino: 2, Type: unix.DT_CHR, Name: "ptmx"}}
			for n := range k.tty.ptys {
				list = append(list, vfs.Dirent{Ino: ptyInode + uint64(n), Type: unix.DT_CHR, Name: strconv.Itoa(n)})
			}
			slices.SortFunc(list, func(a, b vfs.Dirent) int { return int(a.Ino) - int(b.Ino) })
			return list
		},
	}
}

// openDevTTY opens /dev/tty: the terminal that controls the current session.
func (k *Kernel) openDevTTY(*vfs.Device, int) (vfs.File, error) {
	if k.current == nil {
		return nil, unix.ENXIO
	}
	c := k.tty.controls[k.current.sid]
	if c == nil {
		return nil, unix.ENXIO
	}
	return c.Open()
}

// mayUse says whether t may read from, write to or change its terminal: a
// process in the background gets a signal instead, and the call is made again
// once it has come to the foreground (__tty_check_change).
func (t *Task) mayUse(c *vfs.Control, sig unix.Signal) unix.Errno {
	if t.k.tty.controls[t.sid] != c || c.Foreground == 0 || c.Foreground == t.pgid {
		return 0
	}
	if t.ignores(int(sig)) || t.blocked&sigBit(int(sig)) != 0 {
		if sig == unix.SIGTTIN {
			return unix.EIO
		}
		return 0
	}
	if t.k.orphaned(t.pgid) {
		return unix.EIO
	}
	t.k.signalGroup(t.pgid, kernelSignal(int(sig)))
	return errRestartSys
}

// readTTY reads from a terminal. Without lines a read may wait for several
// characters, and for a time: for the first of them if none is asked for, from
// one to the next otherwise.
func (t *Task) readTTY(f *vfs.OpenFile, tty *vfs.TTY, s segments) (int64, unix.Errno) {
	if e := t.mayUse(&tty.Control, unix.SIGTTIN); e != 0 {
		return 0, e
	}
	least, between := tty.ReadMode()
	least = int(min(uint64(least), s.size()))
	have := tty.Waiting()
	if nonblocking(f) {
		least, between = 1, 0 // what there is
	}
	if have < max(least, 1) && have >= 0 || have < 0 {
		switch {
		case nonblocking(f):
			return 0, unix.EAGAIN
		case least == 0 && between == 0 && have == 0:
			return 0, 0
		case least == 0 && have == 0:
			t.setTimeout(between)
			if t.expired() {
				return 0, 0
			}
		case between > 0 && have > 0:
			if seen, ok := t.call.data.(int); !ok || seen != have {
				t.call.timed = false
				t.call.data = have
				t.setTimeout(between)
			}
		}
		if !(have > 0 && t.expired()) && have < max(least, 1) {
			return t.block(errRestartSys, f.File.Queue())
		}
	}
	return t.read(f, s, func(p []byte, _ uint64) (int, error) { return f.Read(p) }, nil)
}

// writeTTY checks a write to a terminal.
func (t *Task) writeTTY(tty *vfs.TTY) unix.Errno {
	if tty.Termios.Lflag&unix.TOSTOP == 0 {
		return 0
	}
	return t.mayUse(&tty.Control, unix.SIGTTOU)
}

// Resize tells the guest's own terminal the size of its window.
func (k *Kernel) Resize(rows, cols int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tty.terminal != nil {
		var win [8]byte
		le.PutUint16(win[0:], uint16(rows))
		le.PutUint16(win[2:], uint16(cols))
		k.tty.terminal.Resize(win)
	}
}

// Hangup hangs up the guest's own terminal, as if its line had been cut: the
// leader of the session and the foreground are sent SIGHUP.
func (k *Kernel) Hangup() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tty.terminal == nil || !k.running {
		return
	}
	c := &k.tty.terminal.Control
	if leader := k.procs[c.Session]; leader != nil && leader.pgid != c.Foreground {
		leader.send(kernelSignal(int(unix.SIGHUP)))
		leader.send(kernelSignal(int(unix.SIGCONT)))
	}
	k.tty.terminal.Hangup()
}
