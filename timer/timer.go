package timer

import (
	"container/heap"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time since some fixed point, without steps.
type Clock interface {
	Now() time.Duration
}

// monotonic reads CLOCK_MONOTONIC through the Go runtime, which asks the vDSO.
// golang.org/x/sys/unix makes a system call for it, and a vCPU reads the clock
// twice in every round trip to a stub.
type monotonic struct {
	start time.Time     // a moment,
	at    time.Duration // and CLOCK_MONOTONIC then
}

// host is read-only.
var host = newMonotonic()

// newMonotonic pairs the two readings. The clock may be ahead of the kernel's by
// as much as lay between them, the least of a few attempts, but not behind: a
// deadline that the kernel finds past has to be past here as well.
func newMonotonic() monotonic {
	var m monotonic
	least := time.Duration(math.MaxInt64)
	for range 5 {
		before := time.Now()
		at := kernelMonotonic()
		if width := time.Since(before); width < least {
			least, m = width, monotonic{before, at}
		}
	}
	return m
}

func kernelMonotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("BUG: clock_gettime(CLOCK_MONOTONIC): %v", err))
	}
	return time.Duration(ts.Nano())
}

// Monotonic is the host's CLOCK_MONOTONIC, on which futex deadlines are.
func Monotonic() Clock { return host }

func (m monotonic) Now() time.Duration { return m.at + time.Since(m.start) }

// Fake is a clock for tests, which goes only when told to.
type Fake struct{ now atomic.Int64 }

// Now is the time that Advance has brought about.
func (f *Fake) Now() time.Duration { return time.Duration(f.now.Load()) }

// Advance moves the clock.
func (f *Fake) Advance(d time.Duration) { f.now.Add(int64(d)) }

// Never is the deadline of a tick that does not come.
const Never = time.Duration(-1)

// Tick is a vCPU's periodic timer. There is no timer in the host behind it: the
// vCPU waits for its stub until Deadline and asks Expired when it wakes. It
// belongs to one vCPU.
type Tick struct {
	period time.Duration
	next   time.Duration
}

// NewTick starts a timer of hz ticks per second, at most one a nanosecond; 0
// never ticks.
func NewTick(c Clock, hz int) *Tick {
	if hz <= 0 {
		return &Tick{next: Never}
	}
	p := max(time.Second/time.Duration(hz), 1) // the clock's resolution
	return &Tick{period: p, next: c.Now() + p}
}

// Deadline is when the next tick is due, in the clock's time; Never if none is.
func (t *Tick) Deadline() time.Duration { return t.next }

// Expired says how many ticks were due by now, and starts waiting for the one
// after. The phase is kept: a late look does not move later ticks.
func (t *Tick) Expired(now time.Duration) (n int) {
	if t.period == 0 || now < t.next {
		return 0
	}
	n = int((now-t.next)/t.period) + 1
	t.next += time.Duration(n) * t.period
	return n
}

// Restart makes the next tick due a whole period from now.
func (t *Tick) Restart(now time.Duration) {
	if t.period != 0 {
		t.next = now + t.period
	}
}

// Timer is a one-shot timer in a Queue.
type Timer struct {
	at    time.Duration
	seq   uint64 // tells timers of one moment apart
	fn    func()
	index int // in the heap, -1 if it is not there
}

// At is when the timer is due.
func (t *Timer) At() time.Duration { return t.at }

// Queue holds one-shot timers. It has no lock: its owner's lock guards it, and
// the functions run with that lock held.
type Queue struct {
	heap timerHeap
	seq  uint64
}

// Add arranges for fn to be called by the first Run at or after at.
func (q *Queue) Add(at time.Duration, fn func()) *Timer {
	q.seq++
	t := &Timer{at: at, seq: q.seq, fn: fn}
	heap.Push(&q.heap, t)
	return t
}

// Cancel takes a timer out; false means that it has fired or was cancelled.
func (q *Queue) Cancel(t *Timer) bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&q.heap, t.index)
	return true
}

// Next is when the first timer is due.
func (q *Queue) Next() (at time.Duration, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

// Run calls what is due, the earliest first, those of one moment in the order in
// which they were added, and returns how many that were. A function
// may add timers; one that is due already fires in the same Run.
func (q *Queue) Run(now time.Duration) (fired int) {
	for len(q.heap) > 0 && q.heap[0].at <= now {
		heap.Pop(&q.heap).(*Timer).fn()
		fired++
	}
	return fired
}

type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
