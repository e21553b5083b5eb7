package vfs

import (
	"goskas/guest/wait"

	"golang.org/x/sys/unix"
)

// Sizes of pipe(7).
const (
	pipeSize = 64 << 10
	pipeBuf  = 4096 // writes up to this many bytes are not split
)

// pipe is a ring of bytes between two kinds of ends.
type pipe struct {
	ino              uint64
	buf              []byte // nil until the first write
	start, n         int
	readers, writers int
	queue            wait.Queue
}

// Pipes makes pipes with inode numbers of their own.
type Pipes struct{ last uint64 }

// New makes a pipe: what is written to w can be read from r.
func (p *Pipes) New() (r, w File) {
	p.last++
	q := &pipe{ino: p.last, readers: 1, writers: 1}
	return &pipeReader{pipe: q}, &pipeWriter{pipe: q}
}

func (p *pipe) stat() (Stat, error) {
	st := dynamicStat(p.ino, unix.S_IFIFO|0o600)
	st.Dev++ // pipes are no part of any tree
	return st, nil
}

func (p *pipe) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.n == 0 {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	done := 0
	for done < len(b) && p.n > 0 {
		n := copy(b[done:], p.buf[p.start:min(p.start+p.n, pipeSize)])
		p.start = (p.start + n) % pipeSize
		p.n -= n
		done += n
	}
	p.queue.Wake()
	return done, nil
}

func (p *pipe) write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.readers == 0 {
		return 0, unix.EPIPE
	}
	room := pipeSize - p.n
	if room == 0 || len(b) <= pipeBuf && room < len(b) {
		return 0, unix.EAGAIN
	}
	if p.buf == nil {
		p.buf = make([]byte, pipeSize)
	}
	done := 0
	for done < len(b) && p.n < pipeSize {
		end := (p.start + p.n) % pipeSize
		n := copy(p.buf[end:min(end+pipeSize-p.n, pipeSize)], b[done:])
		p.n += n
		done += n
	}
	p.queue.Wake()
	return done, nil
}

func (p *pipe) ioctl(cmd uint32, arg []byte) error {
	if cmd != fionRead {
		return unix.ENOTTY
	}
	arg[0], arg[1], arg[2], arg[3] = byte(p.n), byte(p.n>>8), byte(p.n>>16), 0
	return nil
}

type pipeReader struct {
	NoFile
	pipe *pipe
}

func (r *pipeReader) Stat() (Stat, error)              { return r.pipe.stat() }
func (r *pipeReader) Read(b []byte) (int, error)       { return r.pipe.read(b) }
func (r *pipeReader) Ioctl(cmd uint32, a []byte) error { return r.pipe.ioctl(cmd, a) }
func (r *pipeReader) Queue() *wait.Queue               { return &r.pipe.queue }

func (r *pipeReader) Ready() (ev int16) {
	if r.pipe.n > 0 {
		ev |= readable
	}
	if r.pipe.writers == 0 {
		ev |= unix.POLLHUP
	}
	return ev
}

func (r *pipeReader) Close() error {
	r.pipe.readers--
	r.pipe.queue.Wake()
	return nil
}

type pipeWriter struct {
	NoFile
	pipe *pipe
}

func (w *pipeWriter) Stat() (Stat, error)              { return w.pipe.stat() }
func (w *pipeWriter) Write(b []byte) (int, error)      { return w.pipe.write(b) }
func (w *pipeWriter) Ioctl(cmd uint32, a []byte) error { return w.pipe.ioctl(cmd, a) }
func (w *pipeWriter) Queue() *wait.Queue               { return &w.pipe.queue }

func (w *pipeWriter) Ready() (ev int16) {
	if pipeSize-w.pipe.n >= pipeBuf {
		ev |= writable
	}
	if w.pipe.readers == 0 {
		ev |= unix.POLLERR
	}
	return ev
}

func (w *pipeWriter) Close() error {
	w.pipe.writers--
	w.pipe.queue.Wake()
	return nil
}
