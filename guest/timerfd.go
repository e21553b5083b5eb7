package guest

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
	"goskas/guest/wait"
	"goskas/timer"
)

// timerfd is a timer of timerfd_create. Like in Linux, one with an interval
// rests between its first expiry and the next look at it: then the expiries that
// have come due meanwhile are counted.
type timerfd struct {
	vfs.NoFile
	k        *Kernel
	clock    int
	flags    int           // of the last timerfd_settime
	timer    *timer.Timer  // nil: not running
	at       time.Duration // of the next, or the first uncounted expiry, on k's clock
	interval time.Duration
	resting  bool // an interval's first expiry has passed, the later ones are not counted yet
	ticks    uint64
	queue    wait.Queue
	fired    func() // made once
}

func (f *timerfd) Stat() (vfs.Stat, error) { return vfs.AnonStat(), nil }
func (f *timerfd) Queue() *wait.Queue      { return &f.queue }
func (f *timerfd) LinkName() string        { return "anon_inode:[timerfd]" }
func (f *timerfd) Whole()                  {}
func (f *timerfd) SeekNowhere()            {}

func (f *timerfd) Ready() int16 {
	if f.ticks > 0 {
		return unix.POLLIN
	}
	return 0
}

func (f *timerfd) Close() error {
	f.stop()
	return nil
}

func (f *timerfd) stop() {
	if f.timer != nil {
		f.k.timers.Cancel(f.timer)
		f.timer = nil
	}
	f.resting = false
}

func (f *timerfd) start() { f.timer = f.k.addTimer(f.at, f.fired) }

func (f *timerfd) expired() {
	f.timer = nil
	f.ticks++
	f.resting = f.interval > 0
	f.queue.WakeFor(unix.POLLIN)
}

// forward counts the expiries of a resting timer and has it run again.
func (f *timerfd) forward() {
	if !f.resting {
		return
	}
	f.resting = false
	next, missed := nextExpiry(f.at, f.k.now(), f.interval)
	f.ticks += uint64(missed)
	f.at = next
	f.start()
}

const counterSize = 8 // of what a read gives

func (f *timerfd) Read(p []byte) (int, error) {
	if len(p) < counterSize {
		return 0, unix.EINVAL
	}
	if f.ticks == 0 {
		return 0, unix.EAGAIN
	}
	f.forward()
	le.PutUint64(p, f.ticks)
	f.ticks = 0
	return counterSize, nil
}

// setting is what timerfd_gettime tells: the interval and the time left.
func (f *timerfd) setting() (w [4]uint64) {
	f.forward()
	w[0], w[1] = splitTime(f.interval)
	if f.timer != nil {
		w[2], w[3] = splitTime(max(0, f.at-f.k.now()))
	}
	return w
}

// FDInfo is what /proc/pid/fdinfo has beside the usual.
func (f *timerfd) FDInfo() string {
	w := f.setting()
	return fmt.Sprintf("clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.clock, f.ticks, f.flags, w[2], w[3], w[0], w[1])
}

func sysTimerfdCreate(t *Task, a args) (int64, unix.Errno) {
	if a.int(1)&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	switch a.int(0) {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	default:
		return 0, unix.EINVAL // the alarm clocks need a device that wakes the machine
	}
	f := &timerfd{k: t.k, clock: a.int(0)}
	f.fired = f.expired
	return t.installNew(f, a.int(1))
}

func sysTimerfdSettime(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(1)
	value, interval, e := t.loadItimerspec(a.addr(2))
	if e != 0 {
		return 0, e
	}
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	f, e := fileAs[*timerfd](t, a.int(0))
	if e != 0 {
		return 0, e
	}
	old := f.setting()
	f.stop()
	f.ticks, f.flags, f.interval = 0, flags, interval
	if value > 0 {
		now := t.k.now()
		f.at = addDuration(now, value)
		if flags&unix.TFD_TIMER_ABSTIME != 0 {
			// Nobody sets a clock: all run at one rate.
			clock, _ := t.clock(f.clock)
			f.at = addDuration(value, now-clock)
		}
		f.start()
	}
	if a[3] != 0 {
		return 0, t.storeWords(a.addr(3), old[:]...)
	}
	return 0, 0
}

func sysTimerfdGettime(t *Task, a args) (int64, unix.Errno) {
	f, e := fileAs[*timerfd](t, a.int(0))
	if e != 0 {
		return 0, e
	}
	w := f.setting()
	return 0, t.storeWords(a.addr(1), w[:]...)
}
