package guest

import (
	"slices"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/internal/abi"
)

// futexKey says which word of memory is meant: by address in one space for
// private memory, by place in the object for memory that several spaces may
// share.
type futexKey struct {
	space  *Space
	addr   arch.Addr
	shared *vfs.Object
	offset uint64
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
	realtime := op&abi.FUTEX_CLOCK_REALTIME != 0
	cmd := op &^ (abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME)
	if realtime && cmd != abi.FUTEX_WAIT_BITSET {
		return 0, unix.ENOSYS
	}
	switch cmd {
	case abi.FUTEX_WAIT, abi.FUTEX_WAIT_BITSET:
		mask := uint32(abi.FUTEX_BITSET_MATCH_ANY)
		if cmd == abi.FUTEX_WAIT_BITSET {
			mask = a.u32(5)
		}
		if e := t.futexTimeout(a.addr(3), cmd == abi.FUTEX_WAIT_BITSET, realtime); e != 0 {
			return 0, e
		}
		return t.futexWait(addr, val, mask, private)
	case abi.FUTEX_WAKE, abi.FUTEX_WAKE_BITSET:
		mask := uint32(abi.FUTEX_BITSET_MATCH_ANY)
		if cmd == abi.FUTEX_WAKE_BITSET {
			if mask = a.u32(5); mask == 0 {
				return 0, unix.EINVAL
			}
		}
		key, e := t.futexKey(addr, private)
		if e != 0 {
			return 0, e
		}
		return int64(t.k.futexWakeKey(key, int(int32(val)), mask)), 0
	case abi.FUTEX_REQUEUE, abi.FUTEX_CMP_REQUEUE:
		r := requeue{from: addr, to: a.addr(4), wake: int(int32(val)), move: a.int(3), private: private}
		if cmd == abi.FUTEX_CMP_REQUEUE {
			r.compare, r.value = true, a.u32(5)
		}
		return t.futexRequeue(r)
	case abi.FUTEX_WAKE_OP:
		return t.futexWakeOp(addr, a.addr(4), int(int32(val)), a.int(3), a.u32(5), private)
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

// futexKey finds the word's identity: its place in shared memory, and in private
// memory its address, whatever the caller says; there the frame may change, and
// be another process's as well until somebody writes.
func (t *Task) futexKey(addr arch.Addr, private bool) (futexKey, unix.Errno) {
	switch {
	case addr%4 != 0:
		return futexKey{}, unix.EINVAL
	case addr >= t.space.mm.End():
		return futexKey{}, unix.EFAULT
	case private:
		return futexKey{space: t.space, addr: addr}, 0
	}
	if _, e := t.loadU32(addr); e != 0 {
		return futexKey{}, e
	}
	v := t.space.vmas.at(addr)
	if v == nil || !v.shared {
		return futexKey{space: t.space, addr: addr}, 0
	}
	return futexKey{shared: v.file.object, offset: v.fileOffset(addr)}, 0
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
		if mask == 0 {
			return 0, unix.EINVAL
		}
		key, e := t.futexKey(addr, private)
		if e != 0 {
			return 0, e
		}
		now, e := t.loadU32(addr)
		if e != 0 {
			return 0, e
		}
		if now != val {
			return 0, unix.EAGAIN
		}
		t.futex = &futexWaiter{task: t, key: key, bits: mask}
		t.k.futexQueue(key).add(t.futex)
	}
	again := errRestartSys
	if t.call.timed {
		again = errRestartBlock // with the time that is left
	}
	v, e := t.block(again)
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

// futexWake wakes at most n waiters, but at least one, of a word of t's memory.
func (k *Kernel) futexWake(t *Task, addr arch.Addr, n int, private bool, mask uint32) int {
	key, e := t.futexKey(addr, private)
	if e != 0 {
		return 0
	}
	return k.futexWakeKey(key, n, mask)
}

// futexWakeKey wakes at most n waiters. As Linux counts, it wakes one before it
// looks at n.
func (k *Kernel) futexWakeKey(key futexKey, n int, mask uint32) int {
	q := k.futexes[key]
	if q == nil {
		return 0
	}
	n = max(n, 1)
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
