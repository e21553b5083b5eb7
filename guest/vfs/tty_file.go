package vfs

import (
	"slices"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

// ttyFile is the side of a terminal that programs have.
type ttyFile struct {
	NoFile
	tty  *TTY
	node Node
	hung bool
}

// Open opens the programs' side, which node stands for.
func (t *TTY) Open(node Node) (File, error) {
	if t.gone {
		return nil, unix.EIO
	}
	f := &ttyFile{tty: t, node: node}
	t.files = append(t.files, f)
	t.opened = true
	return f, nil
}

// TTYOf is the terminal that a file is the programs' side of, nil if it is none
// or hung up.
func TTYOf(f File) *TTY {
	if f, ok := f.(*ttyFile); ok && !f.hung {
		return f.tty
	}
	return nil
}

// ControlOf is the terminal of either kind that f is, nil if it is none.
func ControlOf(f File) *Control {
	switch f := f.(type) {
	case *ttyFile:
		if !f.hung {
			return &f.tty.Control
		}
	case *consoleFile:
		if f.terminal {
			return &f.console.control
		}
	case interface{ Control() *Control }:
		return f.Control()
	}
	return nil
}

func (f *ttyFile) Stat() (Stat, error) { return f.node.Stat() }
func (f *ttyFile) Queue() *wait.Queue  { return &f.tty.queue }

func (f *ttyFile) Close() error {
	t := f.tty
	t.files = slices.DeleteFunc(t.files, func(o *ttyFile) bool { return o == f })
	if len(t.files) == 0 {
		t.far.Wake()
	}
	return nil
}

// Read gives what there is; how long to wait for more is the caller's business
// (ReadMode).
func (f *ttyFile) Read(p []byte) (int, error) {
	t := f.tty
	switch {
	case f.hung || t.gone && t.Waiting() <= 0:
		return 0, nil
	case t.Waiting() <= 0:
		return 0, unix.EAGAIN
	}
	return t.take(p), nil
}

func (f *ttyFile) Write(p []byte) (int, error) {
	t := f.tty
	switch {
	case f.hung || t.gone:
		return 0, unix.EIO
	case t.stopped:
		return 0, unix.EAGAIN
	}
	n := 0
	for n < len(p) && len(t.out) < maxOutput {
		t.out = t.process(t.out, p[n])
		n++
	}
	if n == 0 && len(p) > 0 {
		return 0, unix.EAGAIN
	}
	t.wakeFar()
	return n, nil
}

func (f *ttyFile) Ready() (ev int16) {
	t := f.tty
	if f.hung || t.gone {
		return readable | writable | unix.POLLHUP | unix.POLLERR
	}
	if t.readable(t.least()) {
		ev |= readable
	}
	if !t.stopped && len(t.out) < maxOutput {
		ev |= writable
	}
	return ev
}

func (f *ttyFile) Ioctl(cmd uint32, arg []byte) error {
	if f.hung {
		return unix.EIO
	}
	return f.tty.ioctl(cmd, arg)
}

// ioctl is what both sides of a terminal know.
func (t *TTY) ioctl(cmd uint32, arg []byte) error {
	switch cmd {
	case unix.TCGETS, unix.TCGETS2:
		t.Termios.put(arg)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		n := t.Termios
		n.get(arg)
		if cmd == unix.TCSETSF || cmd == unix.TCSETSF2 {
			t.flushInput()
		}
		t.setTermios(n)
	case unix.TIOCGWINSZ:
		copy(arg, t.win[:])
	case unix.TIOCSWINSZ:
		t.Resize([winsizeSize]byte(arg))
	case fionRead:
		n := 0
		if t.canonical() {
			for _, k := range t.in[:t.canon] {
				if k&keyEOF == 0 {
					n++
				}
			}
		} else {
			n = len(t.in)
		}
		putInt(arg, n)
	case siocOutq:
		putInt(arg, len(t.out))
	default:
		return unix.ENOTTY
	}
	return nil
}

func putInt(b []byte, n int) {
	b[0], b[1], b[2], b[3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
}

// Flush is TCFLSH, Flow TCXONC (asm-generic/termbits-common.h).
func (t *TTY) Flush(in, out bool) {
	if in {
		t.flushInput()
	}
	if out {
		t.flushOutput()
	}
}

// Flow stops or starts output.
func (t *TTY) Flow(stop bool) {
	if stop {
		t.stopped = true
	} else {
		t.start()
	}
}

// PTYMaster is the other side of a pseudo-terminal.
type PTYMaster struct {
	NoFile
	TTY    *TTY
	Node   Node // /dev/ptmx
	Number int  // below /dev/pts
	Locked bool
	Gone   func() // is called when it is closed
}

// Stat implements File.
func (m *PTYMaster) Stat() (Stat, error) { return m.Node.Stat() }

// Queue implements File.
func (m *PTYMaster) Queue() *wait.Queue { return &m.TTY.far }

// abandoned says that programs have had the terminal open and have not any more.
func (m *PTYMaster) abandoned() bool { return m.TTY.opened && len(m.TTY.files) == 0 }

// Read gives what programs have written.
func (m *PTYMaster) Read(p []byte) (int, error) {
	if n := m.TTY.Drain(p); n > 0 {
		return n, nil
	}
	if m.abandoned() {
		return 0, unix.EIO
	}
	return 0, unix.EAGAIN
}

// Write types.
func (m *PTYMaster) Write(p []byte) (int, error) {
	// A full line discipline loses characters of a line that is too long, but
	// a raw one has the writer wait.
	room := m.TTY.Room()
	if m.TTY.canonical() && m.TTY.canon == 0 {
		room = max(room, 1)
	}
	p = p[:min(len(p), room)]
	if len(p) == 0 {
		return 0, unix.EAGAIN
	}
	m.TTY.Input(p)
	return len(p), nil
}

// Ready implements File.
func (m *PTYMaster) Ready() (ev int16) {
	if len(m.TTY.out) > 0 && !m.TTY.stopped {
		ev |= readable
	}
	if m.abandoned() {
		ev |= unix.POLLHUP
	}
	if m.TTY.Room() > 0 {
		ev |= writable
	}
	return ev
}

// Ioctl implements File. The modes and the window are the terminal's.
func (m *PTYMaster) Ioctl(cmd uint32, arg []byte) error {
	if cmd == fionRead {
		putInt(arg, len(m.TTY.out))
		return nil
	}
	return m.TTY.ioctl(cmd, arg)
}

// Close implements File: the terminal hangs up.
func (m *PTYMaster) Close() error {
	m.TTY.gone = true
	m.TTY.Hangup()
	m.Gone()
	return nil
}
