package guest

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock reads a clock of clock_gettime.
func (t *Task) clock(id int) (time.Duration, unix.Errno) {
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE:
		return t.k.wall(), 0
	case unix.CLOCK_TAI:
		return t.k.wall() + 37*time.Second, 0
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME:
		return t.k.now(), 0
	}
	read, e := t.cpuClock(id)
	if e != 0 {
		return 0, e
	}
	t.account()
	return read(), 0
}

// A clock number below 0 is that of a process or thread: its complement, above
// three bits of which one says that it is a thread, and two what is counted
// (linux/posix-timers_types.h).
const (
	cpuClockThread  = 4
	cpuClockWhich   = 3
	cpuClockProf    = 0
	cpuClockVirtual = 1
	cpuClockSched   = 2
)

// cpuClock finds a clock that counts the CPU time of a process or a thread.
func (t *Task) cpuClock(id int) (read func() time.Duration, e unix.Errno) {
	switch {
	case id == unix.CLOCK_THREAD_CPUTIME_ID:
		return t.cpuTime, 0
	case id == unix.CLOCK_PROCESS_CPUTIME_ID:
		return t.Process.cpuTime, 0
	case id >= 0 || id&cpuClockWhich == cpuClockWhich:
		return nil, unix.EINVAL
	}
	target := t.processOf(^(id >> 3))
	if target == nil {
		return nil, unix.EINVAL
	}
	virtual := id&cpuClockWhich == cpuClockVirtual
	if id&cpuClockThread == 0 {
		if target.leader != target && target != t {
			return nil, unix.EINVAL
		}
		if virtual {
			return target.userTime, 0
		}
		return target.Process.cpuTime, 0
	}
	if target.Process != t.Process {
		return nil, unix.EINVAL
	}
	if virtual {
		return func() time.Duration { return target.utime }, 0
	}
	return target.cpuTime, 0
}

// account counts the time that t has spent in the kernel until now.
func (t *Task) account() {
	now := t.k.now()
	t.stime += now - t.kernelSince
	t.kernelSince = now
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
	if p := a.addr(0); p != 0 {
		sec, nsec := splitTime(t.k.wall())
		if e := t.storeWords(p, sec, nsec/1000); e != 0 {
			return 0, e
		}
	}
	if p := a.addr(1); p != 0 {
		return 0, t.storeU64(p, 0)
	}
	return 0, 0
}

func sysTime(t *Task, a args) (int64, unix.Errno) {
	now := int64(t.k.wall() / time.Second)
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

func sysTimes(t *Task, a args) (int64, unix.Errno) {
	if p := a.addr(0); p != 0 {
		u, c := t.used(), t.kids
		if e := t.storeWords(p, ticks(u.utime), ticks(u.stime), ticks(c.utime), ticks(c.stime)); e != 0 {
			return 0, e
		}
	}
	return int64(ticks(t.k.now())), 0
}
