package guest

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// sigQueue holds pending signals.
type sigQueue struct {
	set  uint64 // a bit per signal, bit 0 is signal 1
	list []sigInfo
}

// add makes a signal pending for somebody whose limit of queued signals is
// given. A signal below firstRT is there once or not at all. EAGAIN says that
// the limit is reached and that the sender is to know (__send_signal_locked of
// Linux's kernel/signal.c).
func (q *sigQueue) add(k *Kernel, in sigInfo, limit uint64) unix.Errno {
	bit := sigBit(in.no)
	if in.no < firstRT && q.set&bit != 0 && in.timer == nil {
		return 0
	}
	code := in.codeValue()
	forced := in.no < firstRT && code >= 0 || in.timer != nil
	if !forced && uint64(k.queuedSignals) >= limit {
		if in.no >= firstRT && code != abi.SI_USER && code != abi.SI_KERNEL {
			return unix.EAGAIN
		}
		q.set |= bit // without saying who sent it
		return 0
	}
	q.set |= bit
	q.list = append(q.list, in)
	k.queuedSignals++
	return 0
}

// take removes and returns the next pending signal of a set: those that the
// last instruction caused first, then by number, then by age.
func (q *sigQueue) take(k *Kernel, set uint64) (sigInfo, bool) {
	set &= q.set
	if set == 0 {
		return sigInfo{}, false
	}
	if s := set & synchronous; s != 0 {
		set = s
	}
	no := bits.TrailingZeros64(set) + 1
	in := sigInfo{no: no} // of one that did not fit into the queue
	first, more := -1, false
	for i := range q.list {
		switch {
		case q.list[i].no != no:
		case first < 0:
			first = i
		default:
			more = true
		}
	}
	if first >= 0 {
		in = q.list[first]
		q.list = append(q.list[:first], q.list[first+1:]...)
		k.queuedSignals--
	}
	if !more {
		q.set &^= sigBit(no)
	}
	return in, true
}

// discard drops signals of a set.
func (q *sigQueue) discard(k *Kernel, set uint64) {
	if q.set&set == 0 {
		return
	}
	q.set &^= set
	kept := q.list[:0]
	for _, in := range q.list {
		if sigBit(in.no)&set == 0 {
			kept = append(kept, in)
		}
	}
	k.queuedSignals -= len(q.list) - len(kept)
	q.list = kept
}

func (q *sigQueue) clear(k *Kernel) {
	k.queuedSignals -= len(q.list)
	*q = sigQueue{}
}
