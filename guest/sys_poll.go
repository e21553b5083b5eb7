package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/wait"
)

// pollFD is struct pollfd.
const pollFDSize = 8

// pollSet is what one attempt of poll or select found.
type pollSet struct {
	t      *Task
	queues []*wait.Queue
	ready  int
}

// check is the state of one descriptor, limited to what is asked for.
func (s *pollSet) check(fd int, events int16) int16 {
	f, e := s.t.file(fd)
	if e != 0 {
		s.ready++
		return unix.POLLNVAL
	}
	got := f.File.Ready() & (events | unix.POLLERR | unix.POLLHUP)
	if got != 0 {
		s.ready++
	}
	s.queues = append(s.queues, f.File.Queue())
	return got
}

func sysPoll(t *Task, a args) (int64, unix.Errno) {
	if ms := a.int(2); ms >= 0 {
		t.setTimeout(time.Duration(ms) * time.Millisecond)
	}
	return t.poll(a.addr(0), a[1])
}

func sysPpoll(t *Task, a args) (int64, unix.Errno) {
	if e := t.pollPrepare(a.addr(2), a.addr(3), a[4]); e != 0 {
		return 0, e
	}
	v, e := t.poll(a.addr(0), a[1])
	return v, t.timeLeft(a.addr(2), e, time.Nanosecond)
}

// timeLeft writes what is left of the time limit of ppoll, pselect6 or select
// where the limit was, when the call has come to its end or is interrupted: that
// is e. A limit in memory that cannot be written stays as it is, and a call that
// has therefore not told what is left cannot go on by itself.
func (t *Task) timeLeft(limit arch.Addr, e unix.Errno, unit time.Duration) unix.Errno {
	if limit == 0 || e == errBlocked {
		return e
	}
	sec, nsec := splitTime(max(0, t.call.deadline-t.k.now()))
	if t.storeWords(limit, sec, nsec/uint64(unit)) != 0 && isRestart(e) {
		return unix.EINTR
	}
	return e
}

// pollPrepare reads the time limit and the signal mask that ppoll and pselect6
// have in common, at the first attempt.
func (t *Task) pollPrepare(limit, mask arch.Addr, maskSize uint64) unix.Errno {
	if e := t.loadTimeout(limit); e != 0 {
		return e
	}
	if mask != 0 && !t.haveSaved {
		m, e := t.loadSigset(mask, maskSize)
		if e != 0 {
			return e
		}
		t.tempMask(m)
	}
	return 0
}

func (t *Task) poll(at arch.Addr, n uint64) (int64, unix.Errno) {
	if n > t.rlimits[unix.RLIMIT_NOFILE].Cur || n*pollFDSize > scratchSize {
		return 0, unix.EINVAL
	}
	raw := t.k.scratch[:n*pollFDSize]
	if e := t.copyIn(at, raw); e != 0 {
		return 0, e
	}
	set := pollSet{t: t, queues: t.k.pollQueues[:0]}
	for p := raw; len(p) > 0; p = p[pollFDSize:] {
		var revents int16
		if fd := int32(le.Uint32(p)); fd >= 0 {
			revents = set.check(int(fd), int16(le.Uint16(p[4:])))
		}
		le.PutUint16(p[6:], uint16(revents))
	}
	if set.ready > 0 || t.expired() {
		return int64(set.ready), t.copyOut(at, raw)
	}
	return set.block()
}

// block waits for any of the files.
func (s *pollSet) block() (int64, unix.Errno) {
	s.t.k.pollQueues = s.queues // grown, for the next time
	return s.t.block(errRestartNoHand, s.queues...)
}

func sysSelect(t *Task, a args) (int64, unix.Errno) {
	if limit := a.addr(4); limit != 0 && !t.call.timed {
		var w [2]uint64
		if e := t.loadWords(limit, w[:]); e != 0 {
			return 0, e
		}
		// Microseconds beyond a second are carried over, as Linux does, and
		// negative ones make the remainder negative.
		sec, usec := int64(w[0]), int64(w[1])
		d, e := timespec([2]uint64{uint64(sec + usec/1e6), uint64(usec % 1e6 * 1000)})
		if e != 0 {
			return 0, e
		}
		t.setTimeout(d)
	}
	v, e := t.selectFDs(a)
	return v, t.timeLeft(a.addr(4), e, time.Microsecond)
}

func sysPselect6(t *Task, a args) (int64, unix.Errno) {
	var mask [2]uint64 // address and size
	if p := a.addr(5); p != 0 {
		if e := t.loadWords(p, mask[:]); e != 0 {
			return 0, e
		}
	}
	if e := t.pollPrepare(a.addr(4), arch.Addr(mask[0]), mask[1]); e != 0 {
		return 0, e
	}
	v, e := t.selectFDs(a)
	return v, t.timeLeft(a.addr(4), e, time.Nanosecond)
}

// maxSelect bounds the descriptors of one select.
const maxSelect = maxFiles

// selectFDs does the sets of select: a[0] descriptors, in a[1] for reading, in
// a[2] for writing and in a[3] for exceptions.
func (t *Task) selectFDs(a args) (int64, unix.Errno) {
	n := a.int(0)
	if n < 0 {
		return 0, unix.EINVAL
	}
	n = min(n, maxSelect)
	size := (n + 63) / 64 * 8
	var asked, got [3][]byte
	buf := t.k.scratch
	for i := range asked {
		asked[i], got[i], buf = buf[:size], buf[size:2*size], buf[2*size:]
		clear(asked[i])
		clear(got[i])
		if p := a.addr(1 + i); p != 0 {
			if e := t.copyIn(p, asked[i]); e != 0 {
				return 0, e
			}
		}
	}
	// What makes a descriptor ready in each set (linux/fs/select.c:
	// POLLIN_SET and so on).
	want := [3]int16{unix.POLLIN, unix.POLLOUT, unix.POLLPRI}
	also := [3]int16{unix.POLLIN | unix.POLLHUP | unix.POLLERR, unix.POLLOUT | unix.POLLERR, unix.POLLPRI}
	set := pollSet{t: t, queues: t.k.pollQueues[:0]}
	count := 0
	for fd := range n {
		bit := byte(1) << (fd % 8)
		var events int16
		for i := range asked {
			if asked[i][fd/8]&bit != 0 {
				events |= want[i]
			}
		}
		if events == 0 {
			continue
		}
		state := set.check(fd, events)
		if state == unix.POLLNVAL {
			return 0, unix.EBADF
		}
		for i := range asked {
			if asked[i][fd/8]&bit != 0 && state&also[i] != 0 {
				got[i][fd/8] |= bit
				count++
			}
		}
	}
	if count == 0 && !t.expired() {
		return set.block()
	}
	for i := range got {
		if p := a.addr(1 + i); p != 0 {
			if e := t.copyOut(p, got[i]); e != 0 {
				return 0, e
			}
		}
	}
	return int64(count), 0
}
