package skas

import (
	"sync"
	"sync/atomic"
	"time"
)

// watch is what a vCPU shows the watchdog: the mm that was sent a tick and has
// not reported since, and how many ticks that vCPU has sent in all.
type watch struct {
	mm  atomic.Pointer[MM]
	seq atomic.Uint64
}

// forwarded notes that a tick goes to x.
func (w *watch) forwarded(x *MM) {
	w.seq.Add(1)
	w.mm.Store(x)
}

// watchdog is the stall policy of the seeds' patch 6: a helper that looks at
// all vCPUs once a tick and kills the stub that has not reported for two looks.
type watchdog struct {
	mu      sync.Mutex
	watches map[*watch]seen
	quit    chan struct{} // nil if it does not run
	done    chan struct{}
}

// seen is what the watchdog saw at its last look, and how often.
type seen struct {
	mm    *MM
	seq   uint64
	times int
}

// watchLimit is how many looks in a row may see the same unreported tick.
const watchLimit = 2

func (d *watchdog) add(w *watch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watches == nil {
		d.watches = make(map[*watch]seen)
	}
	d.watches[w] = seen{}
}

func (d *watchdog) remove(w *watch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watches, w)
}

func (d *watchdog) start(period time.Duration) {
	d.quit, d.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(d.done)
		t := time.NewTicker(period)
		defer t.Stop()
		for {
			select {
			case <-d.quit:
				return
			case <-t.C:
				d.look()
			}
		}
	}()
}

func (d *watchdog) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w, last := range d.watches {
		now := seen{mm: w.mm.Load(), seq: w.seq.Load()}
		if now.mm != nil && now.mm == last.mm && now.seq == last.seq {
			now.times = last.times + 1
			if now.times == watchLimit {
				_ = now.mm.stalled("a tick was not reported in time") // the waiter sees the death
			}
		}
		d.watches[w] = now
	}
}

func (d *watchdog) close() {
	if d.quit != nil {
		close(d.quit)
		<-d.done
	}
}
