package guest

import (
	"slices"
	"time"

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
	k := x.p.k
	x.timer = k.timers.Add(at, x.expired)
	if k.idlers > 0 {
		k.setAlarm()
	}
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
