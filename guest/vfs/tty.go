package vfs

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

// Control is a terminal as far as sessions are concerned.
type Control struct {
	Session    int // whose controlling terminal it is; 0: nobody's
	Foreground int // process group
	// Open makes a file for it, for /dev/tty.
	Open func() (File, error)
	// Rdev is its device number, 0 if the guest has none for it.
	Rdev uint64
}

// TTY is a terminal with the line discipline N_TTY between its two sides: the
// programs, which read lines and write text, and the device, which gives keys to
// Input and takes what Drain has for the screen. It is a pseudo-terminal, or the
// guest's console on a terminal of the host.
type TTY struct {
	Control Control
	Termios Termios
	win     [winsizeSize]byte
	// Signal sends a signal to a process group.
	Signal func(pgrp int, sig unix.Signal)
	// Drained, if set, is called when there is something to Drain.
	Drained func()

	// Input that no program has read. Up to canon it is complete lines.
	in      []key
	canon   int
	literal bool // the next key means itself
	column  int
	// lineColumn is where the line being typed begins.
	lineColumn int

	out     []byte // for the screen
	stopped bool   // by the STOP character or TCOOFF

	files  []*ttyFile // the open programs' side
	opened bool       // it has been
	gone   bool       // the device is
	queue  wait.Queue // programs
	far    wait.Queue // whoever is at the other side
}

// key is a character of input, with what it does to a line.
type key uint16

const (
	keyEnd key = 0x100 // ends the line
	keyEOF key = 0x200 // is the end of file, and not part of the line
)

// maxInput is how much input waits for programs (N_TTY_BUF_SIZE), maxOutput how
// much output for the screen.
const (
	maxInput  = 4095
	maxOutput = 8192
)

// NewTTY makes a terminal as a pseudo-terminal begins.
func NewTTY() *TTY { return &TTY{Termios: newTermios()} }

func (t *TTY) canonical() bool { return t.Termios.local(unix.ICANON) }

// Resize sets the size of the window and tells the foreground of a change.
func (t *TTY) Resize(win [winsizeSize]byte) {
	if win == t.win {
		return
	}
	t.win = win
	t.signal(unix.SIGWINCH)
}

func (t *TTY) signal(sig unix.Signal) {
	if t.Control.Foreground != 0 {
		t.Signal(t.Control.Foreground, sig)
	}
}

// Room is how much Input takes without losing anything.
func (t *TTY) Room() int { return max(0, maxInput-len(t.in)) }

// readable says that a read has something to return.
func (t *TTY) readable(least int) bool {
	if t.canonical() {
		return t.canon > 0
	}
	return len(t.in) >= max(1, least)
}

// least is how many characters a poll for input waits for.
func (t *TTY) least() int {
	if t.Termios.Cc[unix.VTIME] != 0 {
		return 1
	}
	return int(t.Termios.Cc[unix.VMIN])
}

// take moves input to p: of one line at most.
func (t *TTY) take(p []byte) int {
	full := t.Room() < maxInput/4
	n, used := 0, 0
	limit := len(t.in)
	if t.canonical() {
		limit = t.canon
	}
	for used < limit && n < len(p) {
		k := t.in[used]
		used++
		if k&keyEOF != 0 {
			break
		}
		p[n] = byte(k)
		n++
		if k&keyEnd != 0 && t.canonical() {
			break
		}
	}
	// An end of file right behind what is taken goes with it, or the next
	// read would find an empty line.
	if t.canonical() && used == n && n > 0 && used < limit && t.in[used]&keyEOF != 0 && t.in[used-1]&keyEnd == 0 {
		used++
	}
	t.in = slices.Delete(t.in, 0, used)
	t.canon = max(0, t.canon-used)
	if full {
		t.far.WakeFor(writable)
		if t.Drained != nil {
			t.Drained()
		}
	}
	return n
}

// ReadMode is how a read waits: canonical, or for some characters and for the
// time between two of them.
func (t *TTY) ReadMode() (least int, between time.Duration) {
	if t.canonical() {
		return 1, 0
	}
	return int(t.Termios.Cc[unix.VMIN]), time.Duration(t.Termios.Cc[unix.VTIME]) * 100 * time.Millisecond
}

// Waiting is how many characters a read could take now, -1 if not even a whole
// line.
func (t *TTY) Waiting() int {
	if t.canonical() && t.canon == 0 {
		return -1
	}
	return len(t.in)
}

// setTermios changes the modes. Input that was typed so far counts as a line in
// a mode without lines, and the other way round, as in n_tty_set_termios.
func (t *TTY) setTermios(n Termios) {
	was := t.canonical()
	t.Termios = n
	if now := t.canonical(); now != was {
		t.literal = false
		if now {
			// What was not read becomes a line without an end.
			if t.canon = len(t.in); t.canon > 0 {
				t.in[t.canon-1] |= keyEnd
			}
		} else {
			t.in = slices.DeleteFunc(t.in, func(k key) bool { return k&keyEOF != 0 })
			t.canon = 0
		}
	}
	if !n.input(unix.IXON) && t.stopped {
		t.start()
	}
	t.queue.Wake()
}

func (t *TTY) start() {
	t.stopped = false
	t.queue.WakeFor(writable)
	t.wakeFar()
}

// flushInput forgets what was typed.
func (t *TTY) flushInput() {
	t.in, t.canon, t.literal = nil, 0, false
	t.lineColumn = t.column
	t.far.WakeFor(writable)
	if t.Drained != nil {
		t.Drained()
	}
}

func (t *TTY) flushOutput() {
	t.out = nil
	t.queue.WakeFor(writable)
}

// Drain moves output for the screen to p.
func (t *TTY) Drain(p []byte) int {
	if t.stopped {
		return 0
	}
	n := copy(p, t.out)
	t.out = slices.Delete(t.out, 0, n)
	if len(t.out) == 0 {
		t.out = nil
	}
	if n > 0 {
		t.queue.WakeFor(writable)
	}
	return n
}

// Pending is how much output waits for the screen.
func (t *TTY) Pending() int { return len(t.out) }

func (t *TTY) wakeFar() {
	t.far.WakeFor(readable)
	if t.Drained != nil {
		t.Drained()
	}
}

// Hangup ends every open file of the programs' side: they read the end of the
// file and cannot write. The foreground is told.
func (t *TTY) Hangup() {
	t.HangupFiles()
	if fg := t.Control.Foreground; fg != 0 {
		t.Signal(fg, unix.SIGHUP)
		t.Signal(fg, unix.SIGCONT)
	}
}

// HangupFiles is Hangup that tells nobody.
func (t *TTY) HangupFiles() {
	for _, f := range t.files {
		f.hung = true
	}
	t.files = nil
	t.flushInput()
	t.queue.Wake()
	t.far.Wake()
}
