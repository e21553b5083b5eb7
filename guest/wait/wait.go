package wait

// Waiter is one sleeper's place in a queue. It must not be in two at once.
type Waiter struct {
	// Wake is called by Queue.Wake. It may remove this waiter.
	Wake       func()
	next, prev *Waiter
	queue      *Queue
}

// Queue holds the waiters for one thing. Its zero value is empty.
type Queue struct {
	head, tail *Waiter
}

// Add puts w at the end.
func (q *Queue) Add(w *Waiter) {
	if w.queue != nil {
		panic("BUG: waiter is in a queue already")
	}
	w.queue, w.prev, w.next = q, q.tail, nil
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
}

// Wake calls the function of every waiter that is there now, in order. Those
// that come, or come back, meanwhile wait for the next time.
func (q *Queue) Wake() {
	last := q.tail
	for w := q.head; w != nil; {
		next, end := w.next, w == last
		w.Wake()
		if end {
			return
		}
		w = next
	}
}

// Empty reports whether nobody waits.
func (q *Queue) Empty() bool { return q.head == nil }
