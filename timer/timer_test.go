package timer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMonotonicGoesForward(t *testing.T) {
	c := Monotonic()
	last := c.Now()
	for range 1000 {
		now := c.Now()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
	if last <= 0 {
		t.Errorf("the clock stands at %v", last)
	}
}

func TestTickKeepsItsPhase(t *testing.T) {
	const ms = time.Millisecond
	var clock Fake
	clock.Advance(3 * ms)
	tick := NewTick(&clock, 100)
	for _, c := range []struct {
		now      time.Duration
		n        int
		deadline time.Duration
	}{
		{3 * ms, 0, 13 * ms},
		{13*ms - 1, 0, 13 * ms},
		{13 * ms, 1, 23 * ms},
		{13 * ms, 0, 23 * ms},
		{29 * ms, 1, 33 * ms}, // late: the next one is not
		{33*ms + 1, 1, 43 * ms},
		{95 * ms, 6, 103 * ms}, // very late: six were due
		{90 * ms, 0, 103 * ms},
		{time.Hour, 359990, time.Hour + 3*ms},
	} {
		if n := tick.Expired(c.now); n != c.n || tick.Deadline() != c.deadline {
			t.Errorf("at %v: %d ticks, next at %v; want %d, %v", c.now, n, tick.Deadline(), c.n, c.deadline)
		}
	}
}

func TestNoTicksWithoutHZ(t *testing.T) {
	var clock Fake
	for _, hz := range []int{0, -5} {
		tick := NewTick(&clock, hz)
		clock.Advance(time.Hour)
		if n := tick.Expired(clock.Now()); n != 0 || tick.Deadline() != Never {
			t.Errorf("%d Hz: %d ticks, next at %v", hz, n, tick.Deadline())
		}
	}
}

// A rate above the clock's resolution once made a tick whose deadline was
// always over and which never expired: its vCPU would have spun.
func TestTickOfAbsurdRateExpires(t *testing.T) {
	var clock Fake
	tick := NewTick(&clock, 2_000_000_000)
	clock.Advance(time.Second)
	if n := tick.Expired(clock.Now()); n != 1e9 || tick.Deadline() <= clock.Now() {
		t.Errorf("%d ticks, next at %v", n, tick.Deadline())
	}
}

func TestQueueRunsWhatIsDue(t *testing.T) {
	var q Queue
	var fired []string
	add := func(at time.Duration, name string) *Timer {
		return q.Add(at, func() { fired = append(fired, name) })
	}
	if _, ok := q.Next(); ok || q.Run(time.Hour) != 0 {
		t.Error("an empty queue has something to do")
	}
	add(30, "c")
	a := add(10, "a")
	b := add(20, "b")
	gone := add(15, "cancelled")
	if at, ok := q.Next(); at != 10 || !ok || a.At() != 10 {
		t.Errorf("next at %v", at)
	}
	if !q.Cancel(gone) || q.Cancel(gone) {
		t.Error("a timer can be cancelled once")
	}
	if n := q.Run(9); n != 0 {
		t.Errorf("%d fired too early", n)
	}
	if n := q.Run(20); n != 2 {
		t.Errorf("%d fired", n)
	}
	if q.Cancel(a) || q.Cancel(b) {
		t.Error("a fired timer was cancelled")
	}
	q.Run(1000)
	if diff := cmp.Diff([]string{"a", "b", "c"}, fired); diff != "" {
		t.Error(diff)
	}
}

// Timers for the same moment once fired in the order of a heap, that is in
// none: sleepers woke out of turn.
func TestTimersOfOneMomentFireInOrder(t *testing.T) {
	var q Queue
	var fired, want []int
	for i := range 50 {
		q.Add(100, func() { fired = append(fired, i) })
		want = append(want, i)
	}
	q.Run(100)
	if diff := cmp.Diff(want, fired); diff != "" {
		t.Error(diff)
	}
}

func TestTimerFunctionsMayUseTheQueue(t *testing.T) {
	var q Queue
	var fired []string
	var victim *Timer
	q.Add(10, func() {
		fired = append(fired, "first")
		q.Add(15, func() { fired = append(fired, "added, due") })
		q.Add(25, func() { fired = append(fired, "added, not due") })
		q.Cancel(victim)
	})
	victim = q.Add(12, func() { fired = append(fired, "victim") })
	if n := q.Run(20); n != 2 {
		t.Errorf("%d fired", n)
	}
	if diff := cmp.Diff([]string{"first", "added, due"}, fired); diff != "" {
		t.Error(diff)
	}
	if at, ok := q.Next(); at != 25 || !ok {
		t.Errorf("next at %v, %v", at, ok)
	}
}

// Random use against a sorted list.
func TestQueueAgainstModel(t *testing.T) {
	type entry struct {
		at    time.Duration
		id    int
		timer *Timer
	}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var q Queue
		var model []entry
		var fired []int
		now := time.Duration(0)
		for id := range 3000 {
			switch rnd.IntN(4) {
			case 0, 1:
				at := now + time.Duration(rnd.IntN(60)-10)
				e := entry{at, id, q.Add(at, func() { fired = append(fired, id) })}
				i := len(model)
				for i > 0 && model[i-1].at > at {
					i--
				}
				model = slices.Insert(model, i, e)
			case 2:
				if len(model) > 0 {
					i := rnd.IntN(len(model))
					if !q.Cancel(model[i].timer) {
						t.Fatal("cannot be cancelled")
					}
					model = slices.Delete(model, i, i+1)
				}
			case 3:
				now += time.Duration(rnd.IntN(20))
				var want []int
				for len(model) > 0 && model[0].at <= now {
					want = append(want, model[0].id)
					model = model[1:]
				}
				fired = nil
				if n := q.Run(now); n != len(want) {
					t.Fatalf("%d fired, want %d", n, len(want))
				}
				if diff := cmp.Diff(want, fired); diff != "" {
					t.Fatal(diff)
				}
			}
			at, ok := q.Next()
			if ok != (len(model) > 0) || ok && at != model[0].at {
				t.Fatalf("next at %v, %v with %d timers", at, ok, len(model))
			}
		}
	}
}
