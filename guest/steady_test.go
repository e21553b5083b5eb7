package guest

import (
	"math/rand/v2"
	"testing"
	"time"

	"goskas/timer"
)

// fakeCounter goes with a fake clock, at a rate that may change.
type fakeCounter struct {
	clock *timer.Fake
	rate  float64 // steps per nanosecond
	value float64
}

func (f *fakeCounter) CounterNow() uint64 { return uint64(f.value) }

func (f *fakeCounter) advance(d time.Duration) {
	f.clock.Advance(d)
	f.value += f.rate * float64(d)
}

func TestSteadyClockFollowsTheHosts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var host timer.Fake
	host.Advance(time.Hour)
	f := &fakeCounter{clock: &host, rate: 2.5, value: 1e12}
	c := newSteadyClock(&host, f)
	last := time.Duration(0)
	check := func(within time.Duration) {
		t.Helper()
		now := c.Now()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		if off := (host.Now() - now).Abs(); off > within {
			t.Fatalf("off by %v", off)
		}
		last = now
	}
	for range 20000 {
		f.advance(time.Duration(rnd.IntN(5e6)))
		check(time.Microsecond)
		c.steer()
		check(time.Microsecond)
	}
	if c.state != steadyRunning {
		t.Fatalf("state %v", c.state)
	}
	// A counter that goes wrong by a little is steered after; the clock goes
	// on without a jump.
	f.rate *= 1 + 1e-4
	for range 20000 {
		f.advance(time.Millisecond)
		c.steer()
		check(100 * time.Microsecond)
	}
	// One that stood still for some time, as that of a machine that was moved:
	// the clock follows at once.
	host.Advance(time.Minute)
	c.steer()
	check(time.Microsecond)
}

func TestSteadyClockGivesABadCounterUp(t *testing.T) {
	var host timer.Fake
	host.Advance(time.Hour)
	f := &fakeCounter{clock: &host, rate: 2.5, value: 1e12}
	c := newSteadyClock(&host, f)
	f.advance(learnFor)
	if !c.steer() || c.state != steadyRunning {
		t.Fatalf("state %v", c.state)
	}
	f.value += f.rate * 1e9 // a second too far
	f.advance(steerEvery)
	ahead := c.Now()
	if !c.steer() || c.state != steadyBroken {
		t.Fatalf("state %v", c.state)
	}
	for range 30 {
		if now := c.Now(); now < ahead {
			t.Fatalf("%v after %v", now, ahead)
		}
		host.Advance(100 * time.Millisecond)
	}
	if c.Now() != host.Now() {
		t.Errorf("%v, the host has %v", c.Now(), host.Now())
	}
	if c.steer() {
		t.Error("steered again")
	}
	back := &fakeCounter{clock: &host, rate: 2.5, value: 1e12}
	c = newSteadyClock(&host, back)
	back.advance(learnFor)
	c.steer()
	back.value = 1e6 // started anew
	back.advance(steerEvery)
	before := c.Now()
	c.steer()
	if c.state != steadyBroken || c.Now() < before {
		t.Errorf("state %v, %v after %v", c.state, c.Now(), before)
	}
}
