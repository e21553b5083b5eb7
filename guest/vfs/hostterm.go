package vfs

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// HostTerminal joins a TTY to a terminal of the host, which whoever made it has
// put into raw mode: keys come from one descriptor and the screen is the other.
// One goroutine waits for keys, one writes; both rest while there is nothing.
type HostTerminal struct {
	tty          *TTY
	in, out      int
	lock         func(func()) // runs a function under the kernel lock
	stopR, stopW *os.File     // poll sees the reading end closed
	stop         chan struct{}
	kick         chan struct{} // something to write, or room for keys
	room         chan struct{}
	readerDone   chan struct{}
	writerDone   chan struct{}
}

// NewHostTerminal starts both goroutines. A nil file has no keys, or no screen.
func NewHostTerminal(tty *TTY, in, out *os.File, lock func(func())) (*HostTerminal, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	h := &HostTerminal{tty: tty, in: -1, out: -1, lock: lock, stopR: r, stopW: w,
		stop: make(chan struct{}), kick: make(chan struct{}, 1), room: make(chan struct{}, 1),
		readerDone: make(chan struct{}), writerDone: make(chan struct{})}
	if in != nil {
		h.in = int(in.Fd())
	}
	if out != nil {
		h.out = int(out.Fd())
	}
	tty.Drained = func() {
		for _, c := range []chan struct{}{h.kick, h.room} {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
	go h.read()
	go h.write()
	return h, nil
}

// read gives keys to the terminal. The end of them is a hangup.
func (h *HostTerminal) read() {
	defer close(h.readerDone)
	buf := make([]byte, 1024)
	for h.in >= 0 {
		fds := []unix.PollFd{{Fd: int32(h.in), Events: unix.POLLIN}, {Fd: int32(h.stopR.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		}
		if fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(h.in, buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n <= 0 {
			h.lock(h.tty.Hangup)
			return
		}
		if !h.typed(buf[:n]) {
			return
		}
	}
}

// typed waits for room where keys must not be lost: when no lines are made of
// them.
func (h *HostTerminal) typed(p []byte) bool {
	for len(p) > 0 {
		n := len(p)
		h.lock(func() {
			if !h.tty.canonical() {
				n = min(n, h.tty.Room())
			}
			h.tty.Input(p[:n])
		})
		p = p[n:]
		if len(p) > 0 {
			select {
			case <-h.room:
			case <-h.stop:
				return false
			}
		}
	}
	return true
}

// write brings output to the screen until it is stopped and nothing is left.
func (h *HostTerminal) write() {
	defer close(h.writerDone)
	buf := make([]byte, 4096)
	for stopped := false; ; {
		n := 0
		h.lock(func() { n = h.tty.Drain(buf) })
		if n > 0 {
			h.screen(buf[:n])
			continue
		}
		if stopped {
			return
		}
		select {
		case <-h.kick:
		case <-h.stop:
			stopped = true
		}
	}
}

// screen writes p. If the screen is gone, so is what was for it.
func (h *HostTerminal) screen(p []byte) {
	for h.out >= 0 && len(p) > 0 {
		n, err := unix.Write(h.out, p)
		switch err {
		case nil:
			p = p[n:]
		case unix.EINTR:
		case unix.EAGAIN: // somebody made it non-blocking
			fds := []unix.PollFd{{Fd: int32(h.out), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds, -1)
		default:
			return
		}
	}
}

// patience is how long Close waits for a screen that takes nothing.
const patience = 2 * time.Second

// Close ends both goroutines after what is left has been written. It must not
// be called with the lock held.
func (h *HostTerminal) Close() {
	h.lock(func() { h.tty.Flow(false) })
	close(h.stop)
	h.stopW.Close()
	<-h.readerDone
	select {
	case <-h.writerDone:
	case <-time.After(patience):
		// It hangs in a write to a terminal that nobody reads; it ends with
		// that or with the process.
	}
	h.stopR.Close()
}
