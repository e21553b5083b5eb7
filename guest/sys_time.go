package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/timer"
)

// clock reads a clock of clock_gettime.
func (t *Task) clock(id int) (time.Duration, unix.Errno) {
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE:
		return time.Duration(time.Now().UnixNano()), 0
	case unix.CLOCK_TAI:
		return time.Duration(time.Now().UnixNano()) + 37*time.Second, 0
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME:
		return t.k.now(), 0
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return t.utime + t.stime + t.k.now() - t.kernelSince, 0
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		u := t.used()
		return u.utime + u.stime + t.k.now() - t.kernelSince, 0
	}
	return 0, unix.EINVAL
}

// splitTime is d as seconds and nanoseconds.
func splitTime(d time.Duration) (sec, nsec uint64) {
	return uint64(d / time.Second), uint64(d % time.Second)
}

func sysClockGettime(t *Task, a args) (int64, unix.Errno) {
	d, e := t.clock(a.int(0))
	if e != 0 {
		return 0, e
	}
	sec, nsec := splitTime(d)
	return 0, t.storeWords(a.addr(1), sec, nsec)
}

func sysClockGetres(t *Task, a args) (int64, unix.Errno) {
	if _, e := t.clock(a.int(0)); e != 0 {
		return 0, e
	}
	if a[1] == 0 {
		return 0, 0
	}
	res := uint64(1)
	if id := a.int(0); id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE {
		res = 4e6
	}
	return 0, t.storeWords(a.addr(1), 0, res)
}

func sysClockSettime(t *Task, a args) (int64, unix.Errno) {
	if _, e := t.clock(a.int(0)); e != 0 {
		return 0, e
	}
	return 0, unix.EPERM
}

func sysGettimeofday(t *Task, a args) (int64, unix.Errno) {
	now := time.Now()
	if p := a.addr(0); p != 0 {
		if e := t.storeWords(p, uint64(now.Unix()), uint64(now.Nanosecond()/1000)); e != 0 {
			return 0, e
		}
	}
	if p := a.addr(1); p != 0 {
		return 0, t.storeU64(p, 0)
	}
	return 0, 0
}

func sysTime(t *Task, a args) (int64, unix.Errno) {
	now := time.Now().Unix()
	if p := a.addr(0); p != 0 {
		if e := t.storeU64(p, uint64(now)); e != 0 {
			return 0, e
		}
	}
	return now, 0
}

func sysNanosleep(t *Task, a args) (int64, unix.Errno) {
	return t.sleep(unix.CLOCK_MONOTONIC, 0, args{0, 0, a[0], a[1]})
}

func sysClockNanosleep(t *Task, a args) (int64, unix.Errno) {
	id := a.int(0)
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_TAI, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
		return t.sleep(id, a.int(1), a)
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return 0, unix.EOPNOTSUPP
	}
	return 0, unix.EINVAL
}

// timerAbstime is TIMER_ABSTIME (linux/time.h).
const timerAbstime = 1

// sleep is clock_nanosleep: the time at a[2], where to put the rest at a[3].
func (t *Task) sleep(id, flags int, a args) (int64, unix.Errno) {
	if !t.call.timed {
		d, e := t.loadTimespec(a.addr(2))
		if e != 0 {
			return 0, e
		}
		if flags&timerAbstime != 0 {
			// Both clocks run at one rate; nobody sets either.
			now, _ := t.clock(id)
			d = max(0, d-now)
		}
		t.setTimeout(d)
	}
	if t.expired() {
		return 0, 0
	}
	v, e := t.block(errRestartBlock)
	if isRestart(e) && flags&timerAbstime == 0 && a[3] != 0 {
		sec, nsec := splitTime(max(0, t.call.deadline-t.k.now()))
		if e := t.storeWords(a.addr(3), sec, nsec); e != 0 {
			return 0, e
		}
	}
	return v, e
}

// itimer is an interval timer on the monotonic clock.
type itimer struct {
	timer    *timer.Timer // nil: not armed
	at       time.Duration
	interval time.Duration
}

func (it *itimer) stop(k *Kernel) {
	if it.timer != nil {
		k.timers.Cancel(it.timer)
		it.timer = nil
	}
}

// left is the time to the next expiry, 0 if it is not armed.
func (it *itimer) left(now time.Duration) time.Duration {
	if it.timer == nil {
		return 0
	}
	return max(time.Microsecond, it.at-now)
}

// setReal arms p's ITIMER_REAL; a zero value disarms it.
func (p *Process) setReal(value, interval time.Duration) {
	it := &p.itimerReal
	it.stop(p.k)
	it.interval = interval
	if value > 0 {
		it.at = addDuration(p.k.now(), value)
		it.timer = p.k.timers.Add(it.at, p.realExpired)
		if p.k.idlers > 0 {
			p.k.setAlarm()
		}
	}
}

func (p *Process) stopTimers() { p.itimerReal.stop(p.k) }

func (p *Process) realExpired() {
	it := &p.itimerReal
	it.timer = nil
	if it.interval > 0 {
		// Expiries that were missed are not made up for.
		now := p.k.now()
		missed := max(0, now-it.at) / it.interval
		it.at = addDuration(it.at+missed*it.interval, it.interval)
		it.timer = p.k.timers.Add(it.at, p.realExpired)
	}
	p.send(kernelSignal(int(unix.SIGALRM)))
}

func sysAlarm(t *Task, a args) (int64, unix.Errno) {
	left := t.itimerReal.left(t.k.now())
	t.setReal(time.Duration(a.u32(0))*time.Second, 0)
	// Rounded, but never to 0 while there is one.
	sec := (left + time.Second/2) / time.Second
	if left > 0 && sec == 0 {
		sec = 1
	}
	return int64(sec), 0
}

// Interval timers by number (linux/time.h).
const (
	itimerRealNo = 0
	itimerProfNo = 2
)

func sysSetitimer(t *Task, a args) (int64, unix.Errno) {
	if which := a.u32(0); which != itimerRealNo {
		return 0, unix.EINVAL // no virtual and profiling timers
	}
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
	old := t.itimerWords()
	t.setReal(value, interval)
	if a[2] != 0 {
		return 0, t.storeWords(a.addr(2), old[:]...)
	}
	return 0, 0
}

func sysGetitimer(t *Task, a args) (int64, unix.Errno) {
	which := a.u32(0)
	if which > itimerProfNo {
		return 0, unix.EINVAL
	}
	var w [4]uint64
	if which == itimerRealNo {
		w = t.itimerWords()
	}
	return 0, t.storeWords(a.addr(1), w[:]...)
}

// itimerWords is ITIMER_REAL as a struct itimerval.
func (t *Task) itimerWords() (w [4]uint64) {
	it := &t.itimerReal
	if it.timer != nil {
		w[0], w[1] = splitTime(it.interval)
	}
	w[2], w[3] = splitTime(it.left(t.k.now()))
	w[1] /= 1000
	w[3] /= 1000
	return w
}

// timeval converts a struct timeval.
func timeval(sec, usec uint64) (time.Duration, unix.Errno) {
	if usec >= 1e6 {
		return 0, unix.EINVAL
	}
	return timespec([2]uint64{sec, usec * 1000})
}

func sysTimes(t *Task, a args) (int64, unix.Errno) {
	if p := a.addr(0); p != 0 {
		u, c := t.used(), t.kids
		if e := t.storeWords(p, ticks(u.utime), ticks(u.stime), ticks(c.utime), ticks(c.stime)); e != 0 {
			return 0, e
		}
	}
	return int64(ticks(t.k.now())), 0
}
