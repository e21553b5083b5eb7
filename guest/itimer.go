package guest

import (
	"time"

	"golang.org/x/sys/unix"
)

// itimer is an interval timer of setitimer.
type itimer struct {
	expiry
	interval time.Duration
	signal   unix.Signal
}

// newItimers makes p's three interval timers, by number.
func (p *Process) newItimers() {
	for i, it := range [...]itimer{
		unix.ITIMER_REAL:    {signal: unix.SIGALRM},
		unix.ITIMER_VIRTUAL: {signal: unix.SIGVTALRM, expiry: expiry{read: p.userTime}},
		unix.ITIMER_PROF:    {signal: unix.SIGPROF, expiry: expiry{read: p.cpuTime}},
	} {
		it.p, it.fn = p, p.itimers[i].fire
		p.itimers[i] = it
	}
}

// set starts a timer; a zero value stops it.
func (it *itimer) set(value, interval time.Duration) {
	it.stop()
	it.interval = interval
	if value > 0 {
		it.arm(addDuration(it.now(), value))
	}
}

// fire sends the signal. Expiries that were missed are not made up for.
func (it *itimer) fire() {
	if it.interval > 0 {
		next, _ := nextExpiry(it.at, it.now(), it.interval)
		it.arm(next)
	}
	it.p.send(kernelSignal(int(it.signal)))
}

// words is the struct itimerval.
func (it *itimer) words() (w [4]uint64) {
	if it.armed {
		w[0], w[1] = splitTime(it.interval)
		w[2], w[3] = splitTime(max(time.Microsecond, it.left()))
	}
	w[1] /= 1000
	w[3] /= 1000
	return w
}

func (p *Process) stopTimers() {
	for i := range p.itimers {
		p.itimers[i].stop()
	}
	p.deletePosixTimers()
}

func sysAlarm(t *Task, a args) (int64, unix.Errno) {
	it := &t.itimers[unix.ITIMER_REAL]
	left := it.left()
	it.set(time.Duration(a.u32(0))*time.Second, 0)
	// Rounded, but never to 0 while there is one.
	sec := (left + time.Second/2) / time.Second
	if left > 0 && sec == 0 {
		sec = 1
	}
	return int64(sec), 0
}

func sysSetitimer(t *Task, a args) (int64, unix.Errno) {
	var w [4]uint64
	if a[1] != 0 {
		if e := t.loadWords(a.addr(1), w[:]); e != 0 {
			return 0, e
		}
	}
	interval, e := timeval(w[0], w[1])
	if e != 0 {
		return 0, e
	}
	value, e := timeval(w[2], w[3])
	if e != 0 {
		return 0, e
	}
	if a.u32(0) >= uint32(len(t.itimers)) {
		return 0, unix.EINVAL
	}
	it := &t.itimers[a.u32(0)]
	old := it.words()
	it.set(value, interval)
	if a[2] != 0 {
		return 0, t.storeWords(a.addr(2), old[:]...)
	}
	return 0, 0
}

func sysGetitimer(t *Task, a args) (int64, unix.Errno) {
	if a.u32(0) >= uint32(len(t.itimers)) {
		return 0, unix.EINVAL
	}
	w := t.itimers[a.u32(0)].words()
	return 0, t.storeWords(a.addr(1), w[:]...)
}

// timeval converts a struct timeval.
func timeval(sec, usec uint64) (time.Duration, unix.Errno) {
	if usec >= 1e6 {
		return 0, unix.EINVAL
	}
	return timespec([2]uint64{sec, usec * 1000})
}
