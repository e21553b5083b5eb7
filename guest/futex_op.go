package guest

import (
	"slices"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// requeue is what FUTEX_REQUEUE and FUTEX_CMP_REQUEUE ask for.
type requeue struct {
	from, to   arch.Addr
	wake, move int // how many waiters
	private    bool
	compare    bool   // only if the word at from is
	value      uint32 // this
}

// futexRequeue wakes waiters of one word, moves others to another and returns
// the number of both.
func (t *Task) futexRequeue(r requeue) (int64, unix.Errno) {
	if r.wake < 0 || r.move < 0 {
		return 0, unix.EINVAL
	}
	src, e := t.futexKey(r.from, r.private)
	if e != 0 {
		return 0, e
	}
	dst, e := t.futexKey(r.to, r.private)
	if e != 0 {
		return 0, e
	}
	if r.compare {
		now, e := t.loadU32(r.from)
		if e != 0 {
			return 0, e
		}
		if now != r.value {
			return 0, unix.EAGAIN
		}
	}
	total := 0
	if r.wake > 0 {
		total = t.k.futexWakeKey(src, r.wake, abi.FUTEX_BITSET_MATCH_ANY)
	}
	q := t.k.futexes[src]
	if q == nil {
		return int64(total), 0
	}
	n := min(r.move, len(q.waiters))
	if src == dst || n == 0 {
		return int64(total + n), 0
	}
	d := t.k.futexQueue(dst)
	for _, w := range q.waiters[:n] {
		w.key = dst
		d.add(w)
	}
	q.waiters = slices.Delete(q.waiters, 0, n)
	t.k.dropFutexQueue(src, q)
	return int64(total + n), 0
}

// futexOp is the operation that FUTEX_WAKE_OP encodes in one word.
type futexOp struct {
	op, cmp     uint32
	arg, cmpArg int32
}

func parseFutexOp(v uint32) futexOp {
	o := futexOp{op: v >> 28 & 7, cmp: v >> 24 & 15, arg: int32(v<<8) >> 20, cmpArg: int32(v<<20) >> 20}
	if v>>28&abi.FUTEX_OP_OPARG_SHIFT != 0 {
		o.arg = 1 << (o.arg & 31)
	}
	return o
}

// apply is the word after the operation.
func (o futexOp) apply(old uint32) (uint32, bool) {
	arg := uint32(o.arg)
	switch o.op {
	case abi.FUTEX_OP_SET:
		return arg, true
	case abi.FUTEX_OP_ADD:
		return old + arg, true
	case abi.FUTEX_OP_OR:
		return old | arg, true
	case abi.FUTEX_OP_ANDN:
		return old &^ arg, true
	case abi.FUTEX_OP_XOR:
		return old ^ arg, true
	}
	return 0, false
}

// holds compares the word before the operation.
func (o futexOp) holds(old uint32) (yes, ok bool) {
	v := int32(old)
	switch o.cmp {
	case abi.FUTEX_OP_CMP_EQ:
		return v == o.cmpArg, true
	case abi.FUTEX_OP_CMP_NE:
		return v != o.cmpArg, true
	case abi.FUTEX_OP_CMP_LT:
		return v < o.cmpArg, true
	case abi.FUTEX_OP_CMP_LE:
		return v <= o.cmpArg, true
	case abi.FUTEX_OP_CMP_GT:
		return v > o.cmpArg, true
	case abi.FUTEX_OP_CMP_GE:
		return v >= o.cmpArg, true
	}
	return false, false
}

// futexWakeOp changes the second word and wakes n waiters of the first, and m
// of the second if its old value was what the operation asks about.
func (t *Task) futexWakeOp(first, second arch.Addr, n, m int, encoded uint32, private bool) (int64, unix.Errno) {
	a, e := t.futexKey(first, private)
	if e != 0 {
		return 0, e
	}
	b, e := t.futexKey(second, private)
	if e != 0 {
		return 0, e
	}
	op := parseFutexOp(encoded)
	old, e := t.updateU32(second, op.apply)
	if e != 0 {
		return 0, e
	}
	also, ok := op.holds(old)
	if !ok {
		return 0, unix.ENOSYS
	}
	woken := t.k.futexWakeKey(a, n, abi.FUTEX_BITSET_MATCH_ANY)
	if also {
		woken += t.k.futexWakeKey(b, m, abi.FUTEX_BITSET_MATCH_ANY)
	}
	return int64(woken), 0
}

// updateTries bounds how often updateU32 loses against guest code on another
// CPU that changes the same word.
const updateTries = 1000

// updateU32 changes a word of user memory at once and returns what it was; f
// says no by false, which gives ENOSYS.
func (t *Task) updateU32(a arch.Addr, f func(old uint32) (uint32, bool)) (uint32, unix.Errno) {
	for range updateTries {
		old, e := t.loadU32(a)
		if e != 0 {
			return 0, e
		}
		v, ok := f(old)
		if !ok {
			return 0, unix.ENOSYS
		}
		swapped, err := t.space.table().CompareAndSwapUint32(a, old, v)
		if err != nil {
			return 0, accessErrno(err)
		}
		if swapped {
			return old, 0
		}
	}
	return 0, unix.EAGAIN
}

func sysSetRobustList(t *Task, a args) (int64, unix.Errno) {
	if a[1] != abi.ROBUST_LIST_SIZE {
		return 0, unix.EINVAL
	}
	t.robust = a.addr(0)
	return 0, 0
}

func sysGetRobustList(t *Task, a args) (int64, unix.Errno) {
	target := t.processOf(a.int(0))
	if target == nil {
		return 0, unix.ESRCH
	}
	if e := t.storeU64(a.addr(2), abi.ROBUST_LIST_SIZE); e != 0 {
		return 0, e
	}
	return 0, t.storeU64(a.addr(1), uint64(target.robust))
}

// walkRobustList gives up the mutexes that t holds: each gets the mark of an
// owner that has died, and a waiter is woken. The list is the guest's; what is
// wrong with it ends the walk (exit_robust_list of Linux's kernel/futex/core.c).
func (t *Task) walkRobustList() {
	head := t.robust
	t.robust = 0
	if head == 0 || t.space == nil {
		return
	}
	entry, e := t.loadU64(head)
	if e != 0 {
		return
	}
	offset, e := t.loadU64(head + abi.ROBUST_LIST_OFF_OFFSET)
	if e != 0 {
		return
	}
	pending, e := t.loadU64(head + abi.ROBUST_LIST_OFF_PENDING)
	if e != 0 {
		return
	}
	// Bit 0 of a pointer marks a mutex with priority inheritance, which there
	// is none here; the list goes on behind it.
	const piBit = 1
	for range abi.ROBUST_LIST_LIMIT {
		at := arch.Addr(entry &^ piBit)
		if at == head {
			break
		}
		next, e := t.loadU64(at)
		if entry&^piBit != pending&^piBit && !t.giveUp(at+arch.Addr(offset), false) || e != 0 {
			return
		}
		entry = next
	}
	if p := arch.Addr(pending &^ piBit); p != 0 {
		t.giveUp(p+arch.Addr(offset), true)
	}
}

// giveUp marks one mutex. One that was being locked or unlocked when t ended may
// be nobody's: then a waiter is woken all the same.
func (t *Task) giveUp(a arch.Addr, pending bool) bool {
	if a%4 != 0 {
		return false
	}
	now, e := t.loadU32(a)
	if e != 0 {
		return false
	}
	if pending && now == 0 {
		t.k.futexWake(t, a, 1, false, abi.FUTEX_BITSET_MATCH_ANY)
		return true
	}
	if now&abi.FUTEX_TID_MASK != uint32(t.tid) {
		return true
	}
	old, e := t.updateU32(a, func(old uint32) (uint32, bool) {
		return old&abi.FUTEX_WAITERS | abi.FUTEX_OWNER_DIED, true
	})
	if e != 0 {
		return false
	}
	if old&abi.FUTEX_WAITERS != 0 {
		t.k.futexWake(t, a, 1, false, abi.FUTEX_BITSET_MATCH_ANY)
	}
	return true
}
