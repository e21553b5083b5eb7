package vfs

import (
	"golang.org/x/sys/unix"
)

// Input is what the device has: keys that were typed.
func (t *TTY) Input(p []byte) {
	for _, c := range p {
		t.key(c)
	}
	t.wakeFar() // echoes
}

// key handles one character (n_tty_receive_char in drivers/tty/n_tty.c).
func (t *TTY) key(c byte) {
	m := &t.Termios
	if m.input(unix.ISTRIP) {
		c &= 0x7f
	}
	if t.literal {
		t.literal = false
		t.typed(c)
		return
	}
	if m.input(unix.IXON) {
		switch {
		case m.is(unix.VSTART, c):
			t.start()
			return
		case m.is(unix.VSTOP, c):
			t.stopped = true
			return
		}
	}
	if m.local(unix.ISIG) && t.interrupt(c) {
		return
	}
	if t.stopped && m.input(unix.IXON) && m.input(unix.IXANY) {
		t.start()
	}
	switch {
	case c == '\r' && m.input(unix.IGNCR):
		return
	case c == '\r' && m.input(unix.ICRNL):
		c = '\n'
	case c == '\n' && m.input(unix.INLCR):
		c = '\r'
	}
	if t.canonical() {
		t.lineKey(c)
		return
	}
	t.typed(c)
}

// interrupt sends the signal of a character, if it has one.
func (t *TTY) interrupt(c byte) bool {
	m := &t.Termios
	var sig unix.Signal
	switch {
	case m.is(unix.VINTR, c):
		sig = unix.SIGINT
	case m.is(unix.VQUIT, c):
		sig = unix.SIGQUIT
	case m.is(unix.VSUSP, c):
		sig = unix.SIGTSTP
	default:
		return false
	}
	if !m.local(unix.NOFLSH) {
		t.flushOutput()
		t.flushInput()
	}
	t.signal(sig)
	if m.input(unix.IXON) && t.stopped {
		t.start()
	}
	t.echo(c)
	return true
}

// lineKey handles a character that may edit or end the line.
func (t *TTY) lineKey(c byte) {
	m := &t.Termios
	extended := m.local(unix.IEXTEN)
	switch {
	case m.is(unix.VERASE, c):
		t.erase(1, false)
	case m.is(unix.VKILL, c):
		t.kill()
	case m.is(unix.VWERASE, c) && extended:
		t.erase(len(t.in), true)
	case m.is(unix.VLNEXT, c) && extended:
		t.literal = true
		if m.local(unix.ECHO) && m.local(unix.ECHOCTL) {
			t.show('^')
			t.show('\b')
		}
	case m.is(unix.VREPRINT, c) && extended && m.local(unix.ECHO):
		t.echo(c)
		t.show('\n')
		t.lineColumn = t.column
		for _, k := range t.in[t.canon:] {
			t.echo(byte(k))
		}
	case c == '\n':
		if m.local(unix.ECHO) || m.local(unix.ECHONL) {
			t.show('\n')
		}
		t.endLine(key(c) | keyEnd)
	case m.is(unix.VEOF, c):
		t.endLine(keyEOF)
	case m.is(unix.VEOL, c), m.is(unix.VEOL2, c) && extended:
		t.echo(c)
		t.endLine(key(c) | keyEnd)
	default:
		t.typed(c)
	}
}

// typed adds a character to the input. Beyond the limit it is lost.
func (t *TTY) typed(c byte) {
	if len(t.in) >= maxInput {
		return
	}
	if len(t.in) == t.canon {
		t.lineColumn = t.column
	}
	t.in = append(t.in, key(c))
	if c == '\n' && !t.canonical() && t.Termios.local(unix.ECHO) {
		t.show(c)
	} else {
		t.echo(c)
	}
	if t.readable(t.least()) {
		t.queue.WakeFor(readable)
	}
}

// endLine completes the line with k, for which there is always room.
func (t *TTY) endLine(k key) {
	t.in = append(t.in, k)
	t.canon = len(t.in)
	t.lineColumn = t.column
	t.queue.WakeFor(readable)
}

// kill erases the whole line.
func (t *TTY) kill() {
	m := &t.Termios
	if m.local(unix.ECHO) && m.local(unix.ECHOK) && m.local(unix.ECHOKE) && m.local(unix.ECHOE) {
		t.erase(len(t.in), false)
		return
	}
	if len(t.in) == t.canon {
		return
	}
	t.in = t.in[:t.canon]
	if m.local(unix.ECHO) {
		t.echo(m.Cc[unix.VKILL])
		if m.local(unix.ECHOK) {
			t.show('\n')
		}
	}
}

// erase takes up to n characters off the line, or a word.
func (t *TTY) erase(n int, word bool) {
	m := &t.Termios
	seen := false // a character of the word
	for ; n > 0 && len(t.in) > t.canon; n-- {
		last := len(t.in) - 1
		// A character of UTF-8 is erased as a whole.
		for m.input(unix.IUTF8) && last > t.canon && t.in[last]&0xc0 == 0x80 {
			last--
		}
		c := byte(t.in[last])
		if word {
			if isWord(c) {
				seen = true
			} else if seen {
				return
			}
		}
		t.in = t.in[:last]
		if !m.local(unix.ECHO) {
			continue
		}
		switch control := c < ' ' || c == 0x7f; {
		case n == 1 && !word && !m.local(unix.ECHOE):
			t.echo(m.Cc[unix.VERASE])
		case c == '\t':
			for to := t.width(); t.column > to; {
				t.show('\b')
			}
		default:
			if control && m.local(unix.ECHOCTL) {
				t.wipe()
			}
			if !control || m.local(unix.ECHOCTL) {
				t.wipe()
			}
		}
	}
}

func (t *TTY) wipe() {
	t.show('\b')
	t.show(' ')
	t.show('\b')
}

// isWord says that a character is part of a word for WERASE.
func isWord(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// width is the column behind the line as it is now.
func (t *TTY) width() int {
	col := t.lineColumn
	for _, k := range t.in[t.canon:] {
		switch c := byte(k); {
		case c == '\t':
			col = col&^7 + 8
		case c < ' ' || c == 0x7f:
			if t.Termios.local(unix.ECHOCTL) {
				col += 2
			}
		case c&0xc0 != 0x80 || !t.Termios.input(unix.IUTF8):
			col++
		}
	}
	return col
}

// echo shows a character that was typed, a control character as ^X.
func (t *TTY) echo(c byte) {
	m := &t.Termios
	switch {
	case !m.local(unix.ECHO):
	case m.local(unix.ECHOCTL) && (c < ' ' || c == 0x7f) && c != '\t':
		t.show('^')
		t.show(c ^ 0x40)
	default:
		t.show(c)
	}
}

// show puts a character on the screen without asking for room: echoes are few
// and come from outside.
func (t *TTY) show(c byte) {
	if len(t.out) < 2*maxOutput {
		t.out = t.process(t.out, c)
	}
}

// process appends a character as OPOST has it (do_output_char).
func (t *TTY) process(out []byte, c byte) []byte {
	m := &t.Termios
	if !m.output(unix.OPOST) {
		return append(out, c)
	}
	switch {
	case c == '\n' && m.output(unix.ONLCR):
		t.column = 0
		return append(out, '\r', '\n')
	case c == '\n' && m.output(unix.ONLRET):
		t.column = 0
	case c == '\r' && m.output(unix.ONOCR) && t.column == 0:
		return out
	case c == '\r' && m.output(unix.OCRNL):
		if m.output(unix.ONLRET) {
			t.column = 0
		}
		return append(out, '\n')
	case c == '\r':
		t.column = 0
	case c == '\t':
		spaces := 8 - t.column&7
		t.column += spaces
		if m.Oflag&unix.TABDLY == unix.XTABS {
			return append(out, "        "[:spaces]...)
		}
	case c == '\b':
		t.column = max(0, t.column-1)
	case c >= ' ' && c != 0x7f:
		if m.output(unix.OLCUC) && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c&0xc0 != 0x80 || !m.input(unix.IUTF8) {
			t.column++
		}
	}
	return append(out, c)
}
