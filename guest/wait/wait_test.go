package wait

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWakeInOrder(t *testing.T) {
	var q Queue
	var woken []int
	w := make([]Waiter, 5)
	for i := range w {
		w[i].Wake = func() { woken = append(woken, i) }
		q.Add(&w[i])
	}
	q.Remove(&w[0])
	q.Remove(&w[2])
	q.Remove(&w[2]) // twice is harmless
	q.Remove(&w[4])
	q.Wake()
	q.Add(&w[0])
	q.Wake() // waiters stay until they are removed
	if diff := cmp.Diff([]int{1, 3, 1, 3, 0}, woken); diff != "" {
		t.Error(diff)
	}
}

func TestWakersMayRemoveThemselves(t *testing.T) {
	var q Queue
	n := 0
	w := make([]Waiter, 4)
	for i := range w {
		w[i].Wake = func() { n++; q.Remove(&w[i]) }
		q.Add(&w[i])
	}
	q.Wake()
	if n != 4 || !q.Empty() {
		t.Errorf("%d woken, empty %v", n, q.Empty())
	}
}

// A waiter that came back while it was woken was once woken again in the same
// round.
func TestWakeDoesNotReachThoseWhoComeBack(t *testing.T) {
	var q Queue
	woken := make([]int, 3)
	w := make([]Waiter, 3)
	for i := range w {
		w[i].Wake = func() { woken[i]++; q.Remove(&w[i]); q.Add(&w[i]) }
		q.Add(&w[i])
	}
	q.Wake()
	if diff := cmp.Diff([]int{1, 1, 1}, woken); diff != "" {
		t.Error(diff)
	}
}

func TestAWaiterIsInOneQueue(t *testing.T) {
	var q, other Queue
	var w Waiter
	q.Add(&w)
	other.Remove(&w) // not its business
	if q.Empty() {
		t.Error("removed through another queue")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	other.Add(&w)
}

func TestQueueAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q Queue
	var woken, model []int
	w := make([]Waiter, 12)
	leaves := make([]bool, len(w))
	for i := range w {
		w[i].Wake = func() {
			woken = append(woken, i)
			if leaves[i] {
				q.Remove(&w[i])
			}
		}
	}
	for range 20000 {
		i := rnd.IntN(len(w))
		leaves[i] = rnd.IntN(2) == 0
		at := slices.Index(model, i)
		switch rnd.IntN(3) {
		case 0:
			if at < 0 {
				q.Add(&w[i])
				model = append(model, i)
			}
		case 1:
			q.Remove(&w[i])
			if at >= 0 {
				model = slices.Delete(model, at, at+1)
			}
		case 2:
			woken = nil
			q.Wake()
			if diff := cmp.Diff(slices.Clone(model), append([]int{}, woken...)); diff != "" && len(model) > 0 {
				t.Fatal(diff)
			}
			model = slices.DeleteFunc(model, func(i int) bool { return leaves[i] })
		}
		if q.Empty() != (len(model) == 0) {
			t.Fatalf("empty %v with %d waiters", q.Empty(), len(model))
		}
	}
}

// Removing another waiter while it was its turn next once ended the round.
func TestWakersMayRemoveOthers(t *testing.T) {
	var q Queue
	var woken []int
	w := make([]Waiter, 6)
	for i := range w {
		w[i].Wake = func() { woken = append(woken, i) }
		q.Add(&w[i])
	}
	w[1].Wake = func() {
		woken = append(woken, 1)
		for _, i := range []int{0, 1, 2, 4} {
			q.Remove(&w[i])
		}
		q.Add(&w[2]) // comes back, for the next time
	}
	q.Wake()
	if diff := cmp.Diff([]int{0, 1, 3, 5}, woken); diff != "" {
		t.Error(diff)
	}
}

// A waiter that wakes its own queue again, as descriptors that watch each other
// do, reaches everybody once more and ends.
func TestWakeInsideWake(t *testing.T) {
	var q Queue
	var woken []int
	again := true
	w := make([]Waiter, 3)
	for i := range w {
		w[i].Wake = func() { woken = append(woken, i) }
		q.Add(&w[i])
	}
	w[1].Wake = func() {
		woken = append(woken, 1)
		if again {
			again = false
			q.Wake()
		}
	}
	q.Wake()
	if diff := cmp.Diff([]int{0, 1, 0, 1, 2}, woken); diff != "" {
		t.Error(diff)
	}
}

func TestWakeForEvents(t *testing.T) {
	const in, out = 1, 4
	var q Queue
	var woken []int
	w := make([]Waiter, 3)
	for i, events := range []uint32{in, 0, in | out} {
		w[i].Events = events
		w[i].Wake = func() { woken = append(woken, i) }
		q.Add(&w[i])
	}
	q.WakeFor(out)
	q.WakeFor(in)
	q.WakeFor(2)
	q.Wake()
	if diff := cmp.Diff([]int{1, 2, 0, 1, 2, 1, 0, 1, 2}, woken); diff != "" {
		t.Error(diff)
	}
}

func TestWakeAllocatesNothing(t *testing.T) {
	var q Queue
	w := make([]Waiter, 8)
	for i := range w {
		w[i].Wake = func() {}
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range w {
			q.Add(&w[i])
		}
		q.Wake()
		for i := range w {
			q.Remove(&w[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
