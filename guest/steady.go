package guest

import (
	"math/bits"
	"time"

	"goskas/arch"
	"goskas/timer"
)

// steadyClock makes a clock of the CPU's counter, kept with the host's
// monotonic clock: the one that guests can read by themselves, and then the
// machine's only clock, so that time is the same whichever way it is asked for.
// It never goes back. The kernel lock guards it.
type steadyClock struct {
	host    timer.Clock
	counter interface{ CounterNow() uint64 }
	state   steadyState
	first   reading // how the two went together at the start
	base    reading // and from where on mult holds, by this clock
	mult    uint64  // nanoseconds for a step of the counter, times 2^32
	next    time.Duration
	last    time.Duration // shown, once it is broken
}

type steadyState uint8

const (
	steadyLearning steadyState = iota // how fast the counter goes
	steadyRunning
	steadyBroken // the counter does not keep time
)

// reading is the counter at a time.
type reading struct {
	counter uint64
	at      time.Duration
}

const (
	// learnFor is how long the rate is measured at first. Two readings that
	// are a microsecond off make it wrong by a hundred millionths; later it is
	// measured from the same start.
	learnFor = 10 * time.Millisecond
	// steerEvery is how often the clock is compared with the host's, steerOver
	// the time within which a difference is to go away.
	steerEvery = 50 * time.Millisecond
	steerOver  = 200 * time.Millisecond
	// A clock that is behind by more than stepBehind jumps; one that is ahead
	// by more than brokenAhead is not to be trusted again.
	stepBehind  = time.Millisecond
	brokenAhead = 20 * time.Millisecond
	// maxSteer is the part of the rate that steering may change: 1/maxSteer.
	maxSteer = 2000
)

func newSteadyClock(host timer.Clock, counter interface{ CounterNow() uint64 }) *steadyClock {
	c := &steadyClock{host: host, counter: counter}
	c.first = c.read()
	c.next = c.first.at + learnFor
	return c
}

// read takes the counter and the host's time at one moment, or nearly.
func (c *steadyClock) read() (r reading) {
	least := ^uint64(0)
	for range 4 {
		before := c.counter.CounterNow()
		at := c.host.Now()
		if width := c.counter.CounterNow() - before; width < least {
			least, r = width, reading{before + width/2, at}
		}
	}
	return r
}

// Now implements timer.Clock.
func (c *steadyClock) Now() time.Duration {
	switch c.state {
	case steadyRunning:
		return c.at(c.counter.CounterNow())
	case steadyBroken:
		c.last = max(c.last, c.host.Now())
		return c.last
	}
	return c.host.Now()
}

// at is what the clock shows at a state of the counter.
func (c *steadyClock) at(counter uint64) time.Duration {
	if counter <= c.base.counter {
		return c.base.at
	}
	hi, lo := bits.Mul64(counter-c.base.counter, c.mult)
	return c.base.at + time.Duration(hi<<32|lo>>32)
}

// steer compares the clock with the host's, if it is time for that; true says
// that base and mult have changed.
func (c *steadyClock) steer() bool {
	if c.state == steadyBroken || c.host.Now() < c.next {
		return false
	}
	r := c.read()
	c.next = r.at + steerEvery
	steps := r.counter - c.first.counter
	if r.counter <= c.first.counter || r.at <= c.first.at {
		return c.fail()
	}
	hi, lo := bits.Mul64(uint64(r.at-c.first.at), 1<<32)
	if hi >= steps {
		return c.fail()
	}
	rate, _ := bits.Div64(hi, lo, steps)
	if c.state == steadyLearning {
		c.state, c.base, c.mult = steadyRunning, r, rate
		return true
	}
	shows := c.at(r.counter)
	behind := r.at - shows
	switch {
	case behind < -brokenAhead:
		return c.fail()
	case behind > stepBehind:
		shows, behind = r.at, 0
	}
	c.base = reading{r.counter, shows}
	limit := int64(rate / maxSteer)
	correction := int64(float64(rate) * (float64(behind) / float64(steerOver)))
	c.mult = uint64(int64(rate) + max(-limit, min(limit, correction)))
	return true
}

// fail gives the counter up. Time goes on from what was shown last.
func (c *steadyClock) fail() bool {
	c.last = c.Now()
	c.state = steadyBroken
	return true
}

var _ timer.Clock = (*steadyClock)(nil)

// counterOf is the steady counter of a CPU, nil if it has none.
func counterOf(a arch.Arch) arch.Counter {
	if c, ok := a.(arch.Counter); ok && c.CounterSteady() {
		return c
	}
	return nil
}
