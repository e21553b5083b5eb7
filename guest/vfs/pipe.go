package vfs

import (
	"goskas/guest/wait"

	"golang.org/x/sys/unix"
)

// Sizes of pipe(7).
const (
	pipeSize = 64 << 10
	pipeBuf  = 4096 // writes up to this many bytes are not split
	pipePage = 4096
)

// pipe is a ring of bytes between two kinds of ends.
type pipe struct {
	ino              uint64
	buf              []byte // nil until the first write
	start, n         int
	readers, writers int
	// How many there have ever been.
	readersEver, writersEver int
	queue                    wait.Queue
}

// Pipes makes pipes with inode numbers of their own.
type Pipes struct{ last uint64 }

// New makes a pipe: what is written to w can be read from r.
func (p *Pipes) New() (r, w File) {
	p.last++
	q := &pipe{ino: p.last}
	reader, writer := q.open(true, false), q.open(false, true)
	return reader, writer
}

// open makes an end, for reading, writing or both.
func (p *pipe) open(reads, writes bool) *pipeEnd {
	e := &pipeEnd{pipe: p, reads: reads, writes: writes, since: never}
	switch {
	case reads && writes:
	case reads && p.writers == 0:
		e.since = p.writersEver
	case writes && p.readers == 0:
		e.since = p.readersEver
	}
	if reads {
		p.readers++
		p.readersEver++
	}
	if writes {
		p.writers++
		p.writersEver++
	}
	p.queue.Wake()
	return e
}

func (p *pipe) peek(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.n == 0 {
		if p.writers == 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	b = b[:min(len(b), p.n)]
	n := copy(b, p.buf[p.start:])
	copy(b[n:], p.buf)
	return len(b), nil
}

func (p *pipe) take(n int) {
	p.start = (p.start + n) % pipeSize
	var events uint32 // those who have their write tried again need none
	if !p.roomy() && p.n-n <= pipeSize-pipeBuf {
		events = writable
	}
	if p.n -= n; p.n == 0 {
		p.start = 0
	}
	p.queue.WakeFor(events)
}

// roomy says that the pipe counts as writable.
func (p *pipe) roomy() bool { return pipeSize-p.n >= pipeBuf }

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
	p.queue.WakeFor(readable)
	return done, nil
}

func (p *pipe) ioctl(cmd uint32, arg []byte) error {
	if cmd != fionRead {
		return unix.ENOTTY
	}
	arg[0], arg[1], arg[2], arg[3] = byte(p.n), byte(p.n>>8), byte(p.n>>16), 0
	return nil
}

// pipeEnd is an open end of a pipe.
type pipeEnd struct {
	NoFile
	pipe          *pipe
	reads, writes bool
	node          *tmpNode // of a named pipe
	// since is how many ends of the other kind there had ever been when this
	// one was opened without any: until there is one more, it is alone.
	since int
}

// never is the since of an end that has not been alone.
const never = -1

// PipeAlone reports whether f is an end of a named pipe that has had no other
// end yet: without O_NONBLOCK, open waits for one.
func PipeAlone(f File) bool {
	e, ok := f.(*pipeEnd)
	return ok && e.alone()
}

// IsPipe reports whether f is an end of a pipe.
func IsPipe(f File) bool {
	_, ok := f.(*pipeEnd)
	return ok
}

func (e *pipeEnd) alone() bool {
	if e.reads {
		return e.since == e.pipe.writersEver
	}
	return e.since == e.pipe.readersEver
}

func (e *pipeEnd) Stat() (Stat, error) {
	if e.node != nil {
		return e.node.Stat()
	}
	st := dynamicStat(e.pipe.ino, unix.S_IFIFO|0o600)
	st.Dev++ // pipes are no part of any tree
	return st, nil
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	n, err := e.Peek(b)
	if n > 0 {
		e.pipe.take(n)
	}
	return n, err
}

// Peek is Read that leaves the bytes in the pipe.
func (e *pipeEnd) Peek(b []byte) (int, error) {
	if !e.reads {
		return 0, unix.EBADF
	}
	return e.pipe.peek(b)
}

// Take removes bytes that Peek has given: the first n of them, which alone have
// got where they should. It returns how many are gone: as in Linux, a page of
// the pipe stays unless all that was wanted of it got there.
func (e *pipeEnd) Take(n, peeked int) int {
	if n < peeked {
		n = max(0, n-(e.pipe.start+n)%pipePage)
	}
	if n > 0 {
		e.pipe.take(n)
	}
	return n
}

func (e *pipeEnd) Write(b []byte) (int, error) {
	if !e.writes {
		return 0, unix.EBADF
	}
	return e.pipe.write(b)
}

func (e *pipeEnd) Ioctl(cmd uint32, a []byte) error { return e.pipe.ioctl(cmd, a) }
func (e *pipeEnd) Queue() *wait.Queue               { return &e.pipe.queue }

func (e *pipeEnd) Ready() (ev int16) {
	p := e.pipe
	if e.reads {
		if p.n > 0 {
			ev |= readable
		}
		if p.writers == 0 && !e.alone() {
			ev |= unix.POLLHUP
		}
	}
	if e.writes {
		if p.roomy() {
			ev |= writable
		}
		if p.readers == 0 {
			ev |= unix.POLLERR
		}
	}
	return ev
}

func (e *pipeEnd) Close() error {
	if e.reads {
		e.pipe.readers--
	}
	if e.writes {
		e.pipe.writers--
	}
	e.pipe.queue.Wake()
	if e.node != nil {
		e.node.closePipe()
	}
	return nil
}
