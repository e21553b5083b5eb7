package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
	"goskas/timer"
)

// enqueue puts t at the tail of the run queue.
func (k *Kernel) enqueue(t *Task) {
	t.state = taskRunnable
	t.next = nil
	if k.runTail == nil {
		k.runHead = t
	} else {
		k.runTail.next = t
	}
	k.runTail = t
	k.runLen++
	if k.idlers > 0 && k.mayRun(t) {
		k.idle.Signal()
	}
}

// mayRun says that no vCPU runs a task with t's memory. They would have to take
// turns at its one stub, and the one that waits may have better things to do.
func (k *Kernel) mayRun(t *Task) bool {
	for _, o := range k.onCPU {
		if o != nil && o.space == t.space {
			return false
		}
	}
	return true
}

// dequeue takes the first task off the run queue that may run.
func (k *Kernel) dequeue() *Task {
	var prev *Task
	for t := k.runHead; t != nil; prev, t = t, t.next {
		if !k.mayRun(t) {
			continue
		}
		if prev == nil {
			k.runHead = t.next
		} else {
			prev.next = t.next
		}
		if t == k.runTail {
			k.runTail = prev
		}
		t.next = nil
		k.runLen--
		return t
	}
	return nil
}

// callIdle has an idle vCPU look for work if a queued task may run.
func (k *Kernel) callIdle() {
	if k.idlers == 0 {
		return
	}
	for t := k.runHead; t != nil; t = t.next {
		if k.mayRun(t) {
			k.idle.Signal()
			return
		}
	}
}

// nextTask waits for a task that vCPU id can run; nil means that the machine
// stops.
func (k *Kernel) nextTask(id int) *Task {
	k.onCPU[id] = nil
	for !k.stopping {
		k.runTimers()
		if t := k.dequeue(); t != nil {
			t.state, t.vcpu = taskRunning, id
			k.onCPU[id] = t
			k.stats.Switches++
			k.callIdle()
			return t
		}
		k.idlers++
		k.setAlarm()
		since := k.now()
		k.idle.Wait()
		k.stats.idleTime += k.now() - since
		k.idlers--
	}
	return nil
}

// runTimers fires what is due.
func (k *Kernel) runTimers() {
	k.keepTime()
	if at, ok := k.timers.Next(); ok && at <= k.now() {
		k.timers.Run(k.now())
	}
}

// addTimer has fn called at a time, also while vCPUs are idle.
func (k *Kernel) addTimer(at time.Duration, fn func()) *timer.Timer {
	x := k.timers.Add(at, fn)
	if k.idlers > 0 {
		k.setAlarm()
	}
	return x
}

// setAlarm arranges for the next timer to be noticed while vCPUs are idle.
// With a busy vCPU alone, its ticks do that.
func (k *Kernel) setAlarm() {
	at, ok := k.timers.Next()
	if !ok || at == k.alarmAt {
		return
	}
	in := max(0, at-k.now())
	k.alarmAt = at
	if k.alarm != nil {
		k.alarm.Reset(in)
		return
	}
	k.alarm = time.AfterFunc(in, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.alarmAt = 0
		k.runTimers()
		if k.idlers > 0 && !k.stopping {
			k.setAlarm()
		}
	})
}

// wake makes a blocked task runnable; others are left as they are.
func (k *Kernel) wake(t *Task) {
	if t.state != taskBlocked {
		return
	}
	t.unwait()
	k.enqueue(t)
}

// setTimeout bounds the wait of t's system call; only the first of its
// attempts has an effect, so that a spurious wake does not start it anew.
func (t *Task) setTimeout(d time.Duration) {
	if !t.call.timed {
		t.setDeadline(addDuration(t.k.now(), d))
	}
}

// setDeadline is setTimeout with an absolute time.
func (t *Task) setDeadline(at time.Duration) {
	if !t.call.timed {
		t.call.timed, t.call.deadline = true, at
	}
}

// expired says that the time set for t's system call is over.
func (t *Task) expired() bool { return t.call.timed && t.k.now() >= t.call.deadline }

// block puts t to sleep until one of the queues wakes it, its deadline passes
// or a signal comes; its handler, which must return what block does, is then
// called again. With a signal there already, the call ends with intr.
func (t *Task) block(intr unix.Errno, queues ...*wait.Queue) (int64, unix.Errno) {
	if t.deliverable() != 0 {
		return 0, intr
	}
	for _, q := range queues {
		t.waitOn(q)
	}
	if t.call.timed && t.call.deadline < forever {
		t.alarm = t.k.addTimer(t.call.deadline, t.wakeFn)
	}
	t.state = taskBlocked
	t.nvcsw++
	return 0, errBlocked
}

// waitOn adds t to a queue. Waiters beyond those that a task has by itself come
// from a common store, so that a wait allocates nothing.
func (t *Task) waitOn(q *wait.Queue) {
	if q == nil {
		return
	}
	w, spare := (*wait.Waiter)(nil), &t.k.spareWaiters
	if n := len(t.waits); n < maxWaits {
		w = &t.waiter[n]
	} else if n := len(*spare); n > 0 {
		w, *spare = (*spare)[n-1], (*spare)[:n-1]
	} else {
		w = new(wait.Waiter)
	}
	w.Wake = t.wakeFn
	q.Add(w)
	t.waits = append(t.waits, waitOn{q, w})
}

// unwait takes t off everything that could wake it.
func (t *Task) unwait() {
	for i := range t.waits {
		t.waits[i].q.Remove(t.waits[i].w)
		if i >= maxWaits {
			t.k.spareWaiters = append(t.k.spareWaiters, t.waits[i].w)
		}
		t.waits[i] = waitOn{}
	}
	t.waits = t.waits[:0]
	if t.alarm != nil {
		t.k.timers.Cancel(t.alarm)
		t.alarm = nil
	}
}

// forever is later than any deadline.
const forever = time.Duration(1<<63 - 1)

// addDuration is a+b without overflow, for b that a guest chose.
func addDuration(a, b time.Duration) time.Duration {
	if b > forever-a {
		return forever
	}
	return a + b
}
