package wait

// Waiter is one sleeper's place in a queue. It must not be in two at once.
type Waiter struct {
	// Wake is called by Queue.Wake. It may remove any waiter, and add any.
	Wake func()
	// Events narrows down what it waits for, in the bits of poll(2); 0 is
	// everything. Set by its owner before Add.
	Events     uint32
	next, prev *Waiter
	queue      *Queue
	seen       uint64 // the round of wakes that it has had its turn in
}

// Queue holds the waiters for one thing. Its zero value is empty.
type Queue struct {
	head, tail *Waiter
	round      uint64 // counts calls of WakeFor
	changes    uint64 // counts removals
}

// Add puts w at the end.
func (q *Queue) Add(w *Waiter) {
	if w.queue != nil {
		panic("BUG: waiter is in a queue already")
	}
	w.queue, w.prev, w.next, w.seen = q, q.tail, nil, q.round
	if q.tail != nil {
		q.tail.next = w
	} else {
		q.head = w
	}
	q.tail = w
}

// Remove takes w out, if it is in this queue.
func (q *Queue) Remove(w *Waiter) {
	if w.queue != q {
		return
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.queue, w.prev, w.next = nil, nil, nil
	q.changes++
}

// Wake calls the function of every waiter that is there now, in order. Those
// that come, or come back, meanwhile wait for the next time.
func (q *Queue) Wake() { q.WakeFor(^uint32(0)) }

// WakeFor is Wake for those who wait for one of these events.
func (q *Queue) WakeFor(events uint32) {
	q.round++
	round := q.round
	for w := q.head; w != nil; {
		if w.seen >= round || w.Events != 0 && w.Events&events == 0 {
			w = w.next
			continue
		}
		w.seen = round
		changes := q.changes
		w.Wake()
		// Whoever is woken may take others out, w's neighbours too: begin
		// again then; those who have had their turn are passed by.
		if q.changes == changes {
			w = w.next
		} else {
			w = q.head
		}
	}
}

// Empty reports whether nobody waits.
func (q *Queue) Empty() bool { return q.head == nil }
