package guest

import (
	"slices"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
	"goskas/physmem"
)

// futexKey says which word of memory is meant: by address in one space for
// private futexes, by frame for those that several spaces may share.
type futexKey struct {
	space *Space
	addr  arch.Addr
	pfn   physmem.PFN
}

// futexQueue holds the tasks that wait for a word, in order.
type futexQueue struct{ waiters []*futexWaiter }

type futexWaiter struct {
	task  *Task
	key   futexKey
	bits  uint32
	woken bool
}

func sysFutex(t *Task, a args) (int64, unix.Errno) {
	addr, op, val := a.addr(0), a.u32(1), a.u32(2)
	private := op&abi.FUTEX_PRIVATE_FLAG != 0
	mask := ^uint32(0)
	cmd := op &^ (abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME)
	if cmd == abi.FUTEX_WAIT_BITSET || cmd == abi.FUTEX_WAKE_BITSET {
		if mask = a.u32(5); mask == 0 {
			return 0, unix.EINVAL
		}
	}
	if addr%4 != 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case abi.FUTEX_WAIT, abi.FUTEX_WAIT_BITSET:
		if e := t.futexTimeout(a.addr(3), cmd == abi.FUTEX_WAIT_BITSET, op&abi.FUTEX_CLOCK_REALTIME != 0); e != 0 {
			return 0, e
		}
		return t.futexWait(addr, val, mask, private)
	case abi.FUTEX_WAKE, abi.FUTEX_WAKE_BITSET:
		if _, e := t.futexKey(addr, private); e != 0 {
			return 0, e
		}
		return int64(t.k.futexWake(t, addr, int(int32(val)), private, mask)), 0
	case abi.FUTEX_REQUEUE, abi.FUTEX_CMP_REQUEUE:
		if cmd == abi.FUTEX_CMP_REQUEUE {
			now, e := t.loadU32(addr)
			if e != 0 {
				return 0, e
			}
			if now != a.u32(5) {
				return 0, unix.EAGAIN
			}
		}
		return t.futexRequeue(addr, a.addr(4), int(int32(val)), a.int(3), private, cmd == abi.FUTEX_CMP_REQUEUE)
	}
	return 0, unix.ENOSYS
}

// futexTimeout reads the time limit: relative, or absolute for WAIT_BITSET.
func (t *Task) futexTimeout(at arch.Addr, absolute, realtime bool) unix.Errno {
	if at == 0 || t.call.timed {
		return 0
	}
	d, e := t.loadTimespec(at)
	if e != 0 {
		return e
	}
	if absolute {
		id := unix.CLOCK_MONOTONIC
		if realtime {
			id = unix.CLOCK_REALTIME
		}
		now, _ := t.clock(id)
		d = max(0, d-now)
	}
	t.setTimeout(d)
	return 0
}

// futexKey finds the word's identity: its frame in shared memory, and in private
// memory its address, whatever the caller says; there the frame may change, and
// be another process's as well until somebody writes. The page must be there: a
// frame is only an identity while it is mapped.
func (t *Task) futexKey(addr arch.Addr, private bool) (futexKey, unix.Errno) {
	if addr >= t.space.mm.End() {
		return futexKey{}, unix.EFAULT
	}
	if private {
		return futexKey{space: t.space, addr: addr}, 0
	}
	if _, e := t.loadU32(addr); e != 0 {
		return futexKey{}, e
	}
	if v := t.space.vmas.at(addr); v == nil || v.shared == nil {
		return futexKey{space: t.space, addr: addr}, 0
	}
	return futexKey{addr: arch.Addr(addr.PageOffset()), pfn: t.space.table().Lookup(addr).PFN()}, 0
}

func (t *Task) futexWait(addr arch.Addr, val, mask uint32, private bool) (int64, unix.Errno) {
	if w := t.futex; w != nil {
		switch {
		case w.woken:
			t.futex = nil
			return 0, 0
		case t.expired():
			t.leaveFutex()
			return 0, unix.ETIMEDOUT
		}
	} else {
		now, e := t.loadU32(addr)
		if e != 0 {
			return 0, e
		}
		if now != val {
			return 0, unix.EAGAIN
		}
		key, e := t.futexKey(addr, private)
		if e != 0 {
			return 0, e
		}
		t.futex = &futexWaiter{task: t, key: key, bits: mask}
		t.k.futexQueue(key).add(t.futex)
	}
	v, e := t.block(errRestartSys)
	if e != errBlocked {
		t.leaveFutex()
	}
	return v, e
}

func (k *Kernel) futexQueue(key futexKey) *futexQueue {
	q := k.futexes[key]
	if q == nil {
		q = new(futexQueue)
		k.futexes[key] = q
	}
	return q
}

func (q *futexQueue) add(w *futexWaiter) { q.waiters = append(q.waiters, w) }

// leaveFutex takes t off the queue that it may be on.
func (t *Task) leaveFutex() {
	w := t.futex
	if w == nil {
		return
	}
	t.futex = nil
	if q := t.k.futexes[w.key]; q != nil {
		q.waiters = slices.DeleteFunc(q.waiters, func(o *futexWaiter) bool { return o == w })
		t.k.dropFutexQueue(w.key, q)
	}
}

func (k *Kernel) dropFutexQueue(key futexKey, q *futexQueue) {
	if len(q.waiters) == 0 {
		delete(k.futexes, key)
	}
}

// futexWake wakes at most n waiters of a word of t's memory.
func (k *Kernel) futexWake(t *Task, addr arch.Addr, n int, private bool, mask uint32) int {
	key, e := t.futexKey(addr, private)
	q := k.futexes[key]
	if e != 0 || q == nil {
		return 0
	}
	woken := 0
	kept := q.waiters[:0]
	for _, w := range q.waiters {
		if woken < n && w.bits&mask != 0 {
			w.woken = true
			k.wake(w.task)
			woken++
			continue
		}
		kept = append(kept, w)
	}
	clear(q.waiters[len(kept):])
	q.waiters = kept
	k.dropFutexQueue(key, q)
	return woken
}

// futexRequeue wakes n waiters of one word and moves up to m more to another.
func (t *Task) futexRequeue(from, to arch.Addr, n, m int, private, countMoved bool) (int64, unix.Errno) {
	if n < 0 || m < 0 {
		return 0, unix.EINVAL
	}
	src, e := t.futexKey(from, private)
	if e != 0 {
		return 0, e
	}
	dst, e := t.futexKey(to, private)
	if e != 0 {
		return 0, e
	}
	total := t.k.futexWake(t, from, n, private, ^uint32(0))
	q := t.k.futexes[src]
	if q == nil || src == dst {
		return int64(total), 0
	}
	m = min(m, len(q.waiters))
	if m > 0 {
		d := t.k.futexQueue(dst)
		for _, w := range q.waiters[:m] {
			w.key = dst
			d.add(w)
		}
		q.waiters = slices.Delete(q.waiters, 0, m)
		t.k.dropFutexQueue(src, q)
	}
	if countMoved {
		total += m
	}
	return int64(total), 0
}
