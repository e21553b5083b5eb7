package skas

import (
	"math"
	"sync/atomic"
	"time"

	"goskas/timer"

	"golang.org/x/sys/unix"
)

// ticker forwards the ticks of a vCPU that waits for a traced stub. (A wait for
// a word has a time limit, and forwards them by itself; one for a tracee has
// none.) It sleeps as long as the vCPU runs nothing.
type ticker struct {
	mon        *Monitor
	quit, done chan struct{}
	sooner     chan struct{} // there is a deadline before until

	// Written by the vCPU: the mm that it runs, nil for none, and when its
	// tick is due. The ticker puts the deadline off when it has forwarded one.
	mm       atomic.Pointer[MM]
	deadline atomic.Int64
	// until is when the ticker will look again.
	until atomic.Int64
}

func newTicker(m *Monitor) *ticker {
	k := &ticker{mon: m, quit: make(chan struct{}), done: make(chan struct{}), sooner: make(chan struct{}, 1)}
	go k.loop()
	return k
}

func (k *ticker) close() {
	close(k.quit)
	<-k.done
}

// arm has x be sent a tick at a deadline, and one each tick from then on.
func (k *ticker) arm(x *MM, deadline time.Duration) {
	if deadline == timer.Never {
		return
	}
	k.deadline.Store(int64(deadline))
	k.mm.Store(x)
	if int64(deadline) < k.until.Load() {
		select {
		case k.sooner <- struct{}{}:
		default: // it knows
		}
	}
}

func (k *ticker) disarm() { k.mm.Store(nil) }

func (k *ticker) loop() {
	defer close(k.done)
	t := time.NewTimer(math.MaxInt64)
	defer t.Stop()
	for {
		// First the promise, then the look: arm does it the other way round.
		now, until := int64(hostNow()), int64(math.MaxInt64)
		k.until.Store(until)
		if x := k.mm.Load(); x != nil {
			until = k.deadline.Load()
			if until <= now {
				k.mon.stats.ticksForwarded.Add(1)
				x.signal(unix.SIGALRM)
				next := now + int64(k.mon.tickPeriod())
				k.deadline.CompareAndSwap(until, next)
				continue
			}
			k.until.Store(until)
			if k.deadline.Load() < until {
				continue
			}
		}
		t.Reset(time.Duration(until - now))
		select {
		case <-k.quit:
			return
		case <-k.sooner:
		case <-t.C:
		}
	}
}
