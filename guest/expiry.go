package guest

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/timer"
)

// expiry is a one-shot timer of a process, on the monotonic clock or on one that
// counts CPU time.
type expiry struct {
	p *Process
	// read is the clock; nil is the monotonic one.
	read  func() time.Duration
	fn    func()
	at    time.Duration
	timer *timer.Timer // if it is armed, on the monotonic clock
	armed bool
}

func (x *expiry) now() time.Duration {
	if x.read == nil {
		return x.p.k.now()
	}
	return x.read()
}

// arm has fn called once the clock shows at.
func (x *expiry) arm(at time.Duration) {
	x.stop()
	x.at, x.armed = at, true
	if x.read != nil {
		x.p.cpuTimers = append(x.p.cpuTimers, x)
		return
	}
	x.timer = x.p.k.addTimer(at, x.expired)
}

func (x *expiry) expired() {
	x.timer, x.armed = nil, false
	x.fn()
}

func (x *expiry) stop() {
	if !x.armed {
		return
	}
	x.armed = false
	if x.timer != nil {
		x.p.k.timers.Cancel(x.timer)
		x.timer = nil
		return
	}
	x.p.cpuTimers = slices.DeleteFunc(x.p.cpuTimers, func(o *expiry) bool { return o == x })
}

// left is the time to the expiry, 0 if there is none to come.
func (x *expiry) left() time.Duration {
	if !x.armed {
		return 0
	}
	return max(1, x.at-x.now())
}

// nextExpiry is when a timer that was due at a time is due again, and how many
// expiries it has missed until now.
func nextExpiry(at, now, interval time.Duration) (next time.Duration, missed int64) {
	n := max(0, now-at) / interval
	return addDuration(at+n*interval, interval), int64(n)
}

// loadItimerspec reads a struct itimerspec.
func (t *Task) loadItimerspec(at arch.Addr) (value, interval time.Duration, e unix.Errno) {
	var w [4]uint64
	if e := t.loadWords(at, w[:]); e != 0 {
		return 0, 0, e
	}
	if interval, e = timespec([2]uint64(w[:2])); e != 0 {
		return 0, 0, e
	}
	value, e = timespec([2]uint64(w[2:]))
	return value, interval, e
}

// runCPUTimers fires what CPU time has made due.
func (p *Process) runCPUTimers() {
	var due []*expiry
	for _, x := range p.cpuTimers {
		if x.now() >= x.at {
			due = append(due, x)
		}
	}
	for _, x := range due {
		x.stop()
		x.fn()
	}
}

// userTime and cpuTime are clocks of what p has used.
func (p *Process) userTime() time.Duration { u := p.used(); return u.utime }
func (p *Process) cpuTime() time.Duration  { u := p.used(); return u.utime + u.stime }

func (t *Task) cpuTime() time.Duration { return t.utime + t.stime }
