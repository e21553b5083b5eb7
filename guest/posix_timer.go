package guest

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// posixTimer is a timer of timer_create. One with an interval rests from its
// expiry until its signal is taken: then the expiries that have come due
// meanwhile are counted, as overruns, and it runs again.
type posixTimer struct {
	expiry
	id       int
	clock    int
	notify   uint32
	signal   int
	value    uint64
	target   *Task // nil: the process
	interval time.Duration
	resting  bool
	overrun  int64
	// setting numbers what timer_settime has set: a signal of an earlier one is
	// not delivered any more.
	setting int
	dead    bool
}

// maxPosixTimers bounds what one process can make.
const maxPosixTimers = 1024

func (x *posixTimer) set(at, interval time.Duration) {
	x.stop()
	x.setting++
	x.interval, x.resting, x.overrun = interval, false, 0
	x.arm(at)
}

// fire sends the timer's signal.
func (x *posixTimer) fire() {
	x.resting = x.interval > 0
	if x.notify == abi.SIGEV_NONE {
		return
	}
	if x.p.ignores(x.signal) {
		x.forward() // as if it had been taken
		return
	}
	in := sigInfo{no: x.signal, code: abi.SI_TIMER, value: x.value, timer: x, setting: x.setting}
	if x.target != nil {
		x.target.send(in)
	} else {
		x.p.send(in)
	}
}

// forward has a resting timer run again, and returns how many expiries it has
// missed.
func (x *posixTimer) forward() int64 {
	if !x.resting {
		return 0
	}
	x.resting = false
	next, missed := nextExpiry(x.at, x.now(), x.interval)
	x.arm(next)
	return missed
}

// taken is called when the timer's signal is; false says that it does not count
// any more.
func (x *posixTimer) taken(in *sigInfo) bool {
	if x.dead || in.setting != x.setting {
		return false
	}
	x.overrun = min(x.forward(), math.MaxInt32)
	in.timerID, in.overrun = x.id, int32(x.overrun)
	return true
}

// words is the struct itimerspec.
func (x *posixTimer) words() (w [4]uint64) {
	w[0], w[1] = splitTime(x.interval)
	left := x.left()
	if x.resting { // its next expiry, with those that nobody has counted yet
		left = x.interval - max(0, x.now()-x.at)%x.interval
	}
	w[2], w[3] = splitTime(left)
	return w
}

// clockReader is the clock of a timer: nil for those that run at the rate of the
// monotonic clock.
func (t *Task) clockReader(id int) (read func() time.Duration, e unix.Errno) {
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI:
		return nil, 0
	}
	return t.cpuClock(id)
}

func sysTimerCreate(t *Task, a args) (int64, unix.Errno) {
	p := t.Process
	x := &posixTimer{clock: a.int(0), notify: abi.SIGEV_SIGNAL, signal: int(unix.SIGALRM)}
	read, e := t.clockReader(x.clock)
	if e != 0 {
		return 0, e
	}
	x.p, x.read, x.fn = p, read, x.fire
	if len(p.timers) >= maxPosixTimers {
		return 0, unix.EAGAIN
	}
	var b [abi.SIGEV_SIZE]byte
	if a[1] != 0 {
		if e := t.copyIn(a.addr(1), b[:]); e != 0 {
			return 0, e
		}
	}
	x.id = p.nextTimer // used up even if the call fails from here on
	p.nextTimer = (p.nextTimer + 1) & math.MaxInt32
	x.value = uint64(x.id)
	if a[1] != 0 {
		if e := x.event(t, b[:]); e != 0 {
			return 0, e
		}
	}
	if e := t.storeU32(a.addr(2), uint32(x.id)); e != 0 {
		return 0, e
	}
	if p.timers == nil {
		p.timers = make(map[int]*posixTimer)
	}
	p.timers[x.id] = x
	return 0, 0
}

// event takes in what a struct sigevent says (good_sigevent of Linux's
// kernel/time/posix-timers.c).
func (x *posixTimer) event(t *Task, b []byte) unix.Errno {
	x.value = le.Uint64(b[abi.SIGEV_OFF_VALUE:])
	x.signal = int(int32(le.Uint32(b[abi.SIGEV_OFF_SIGNO:])))
	x.notify = le.Uint32(b[abi.SIGEV_OFF_NOTIFY:])
	switch x.notify {
	case abi.SIGEV_NONE:
		return 0
	case abi.SIGEV_SIGNAL | abi.SIGEV_THREAD_ID:
		target := t.k.tasks[int(int32(le.Uint32(b[abi.SIGEV_OFF_TID:])))]
		if target == nil || target.Process != t.Process {
			return unix.EINVAL
		}
		x.target = target
	case abi.SIGEV_SIGNAL, abi.SIGEV_THREAD:
	default:
		return unix.EINVAL
	}
	if !validSignal(x.signal) {
		return unix.EINVAL
	}
	return 0
}

// timerAbstime is TIMER_ABSTIME (linux/time.h).
const timerAbstime = 1

func sysTimerSettime(t *Task, a args) (int64, unix.Errno) {
	if a[2] == 0 {
		return 0, unix.EINVAL
	}
	value, interval, e := t.loadItimerspec(a.addr(2))
	if e != 0 {
		return 0, e
	}
	x := t.timers[a.int(0)]
	if x == nil {
		return 0, unix.EINVAL
	}
	old := x.words()
	switch now := x.now(); {
	case value == 0:
		x.set(0, 0)
		x.stop()
	case a.int(1)&timerAbstime == 0:
		x.set(addDuration(now, value), interval)
	default:
		// Nobody sets a clock: all run at one rate.
		clock, _ := t.clock(x.clock)
		x.set(addDuration(value, now-clock), interval)
	}
	if a[3] != 0 {
		return 0, t.storeWords(a.addr(3), old[:]...)
	}
	return 0, 0
}

func sysTimerGettime(t *Task, a args) (int64, unix.Errno) {
	x := t.timers[a.int(0)]
	if x == nil {
		return 0, unix.EINVAL
	}
	w := x.words()
	return 0, t.storeWords(a.addr(1), w[:]...)
}

func sysTimerGetoverrun(t *Task, a args) (int64, unix.Errno) {
	x := t.timers[a.int(0)]
	if x == nil {
		return 0, unix.EINVAL
	}
	return x.overrun, 0
}

func sysTimerDelete(t *Task, a args) (int64, unix.Errno) {
	x := t.timers[a.int(0)]
	if x == nil {
		return 0, unix.EINVAL
	}
	x.delete()
	return 0, 0
}

func (x *posixTimer) delete() {
	x.stop()
	x.dead = true
	delete(x.p.timers, x.id)
}

// deletePosixTimers is what execve and the end do to a process's timers.
func (p *Process) deletePosixTimers() {
	for _, x := range p.timers {
		x.delete()
	}
	p.nextTimer = 0
}
