package guest

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// numSignals is _NSIG of Linux; firstRT the first signal that queues.
const (
	numSignals = 64
	firstRT    = 32
	// maxQueued limits the signals that wait for one task.
	maxQueued = 1024
)

// sigAction is what a task does on a signal.
type sigAction struct {
	handler  arch.Addr // abi.SIG_DFL, abi.SIG_IGN or a function
	flags    uint64
	restorer arch.Addr
	mask     uint64
}

// SigHand is a table of actions; CLONE_SIGHAND shares it.
type SigHand struct {
	actions [numSignals + 1]sigAction // by number
}

func (h *SigHand) clone() *SigHand {
	c := *h
	return &c
}

// forExec is the table after execve: handlers are gone, SIG_IGN stays.
func (h *SigHand) forExec() *SigHand {
	n := new(SigHand)
	for i := range h.actions {
		if h.actions[i].handler == abi.SIG_IGN {
			n.actions[i].handler = abi.SIG_IGN
		}
	}
	return n
}

// sigBit is a signal's bit in a mask.
func sigBit(no int) uint64 { return 1 << (no - 1) }

func sigMask(sigs ...unix.Signal) (m uint64) {
	for _, s := range sigs {
		m |= sigBit(int(s))
	}
	return m
}

var (
	// unblockable signals are always at their default.
	unblockable = sigMask(unix.SIGKILL, unix.SIGSTOP)
	stopSignals = sigMask(unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	defaultNone = sigMask(unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH)
	synchronous = sigMask(unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGTRAP, unix.SIGFPE, unix.SIGSYS)
	contBit     = sigMask(unix.SIGCONT)
)

// ignores says that signal no would do nothing to t.
func (t *Task) ignores(no int) bool {
	switch t.sig.actions[no].handler {
	case abi.SIG_IGN:
		return true
	case abi.SIG_DFL:
		return defaultNone&sigBit(no) != 0
	}
	return false
}

// deliverable is the set of signals that t has to look at now.
func (t *Task) deliverable() uint64 {
	if t.fatal != 0 {
		return ^uint64(0)
	}
	return t.pending &^ t.blocked
}

// send makes a signal pending and wakes t if that matters.
func (t *Task) send(in sigInfo) {
	if t.state >= taskZombie || in.no == 0 {
		return
	}
	bit := sigBit(in.no)
	switch {
	case bit == contBit:
		t.discard(stopSignals)
		t.resume(true)
	case bit&stopSignals != 0:
		t.discard(contBit)
	case in.no == int(unix.SIGKILL):
		t.resume(false)
	}
	if t.ignores(in.no) && bit&(t.blocked|t.sigWait) == 0 {
		return
	}
	if in.no < firstRT && t.pending&bit != 0 || in.no >= firstRT && len(t.queued) >= maxQueued {
		return
	}
	t.pending |= bit
	t.queued = append(t.queued, in)
	t.k.stats.Signals++
	if bit&^t.blocked != 0 || bit&t.sigWait != 0 {
		t.k.wake(t)
	}
}

// force sends a signal that t's own last instruction caused. Blocked or
// ignored, it kills.
func (t *Task) force(in sigInfo) {
	if bit := sigBit(in.no); t.blocked&bit != 0 || t.sig.actions[in.no].handler == abi.SIG_IGN {
		t.sig.actions[in.no] = sigAction{}
		t.blocked &^= bit
	}
	t.send(in)
}

// kill ends t with signal sig whatever it has arranged for.
func (t *Task) kill(sig unix.Signal) {
	if t.state >= taskZombie {
		return
	}
	t.fatal = int(sig)
	t.resume(false)
	t.k.wake(t)
}

// resume continues a stopped task.
func (t *Task) resume(tell bool) {
	if t.state != taskStopped {
		return
	}
	t.stopNews = false
	t.k.enqueue(t)
	if tell {
		t.contNews = true
		t.notifyParent(abi.CLD_CONTINUED, int32(unix.SIGCONT))
	}
}

// discard drops pending signals.
func (t *Task) discard(set uint64) {
	if t.pending&set == 0 {
		return
	}
	t.pending &^= set
	kept := t.queued[:0]
	for _, in := range t.queued {
		if sigBit(in.no)&set == 0 {
			kept = append(kept, in)
		}
	}
	t.queued = kept
}

// take removes and returns the next pending signal of a set: those that the
// last instruction caused first, then by number.
func (t *Task) take(set uint64) (sigInfo, bool) {
	set &= t.pending
	if set == 0 {
		return sigInfo{}, false
	}
	if s := set & synchronous; s != 0 {
		set = s
	}
	no := bits.TrailingZeros64(set) + 1
	var in sigInfo
	found, more := false, false
	for i := 0; i < len(t.queued); i++ {
		if t.queued[i].no != no {
			continue
		}
		if found {
			more = true
			break
		}
		found, in = true, t.queued[i]
		t.queued = append(t.queued[:i], t.queued[i+1:]...)
		i--
	}
	if !more {
		t.pending &^= sigBit(no)
	}
	return in, true
}

// setBlocked changes the mask of blocked signals.
func (t *Task) setBlocked(m uint64) { t.blocked = m &^ unblockable }

// signalGroup sends in to every process of a group and says whether there is
// one.
func (k *Kernel) signalGroup(pgid int, in sigInfo) bool {
	found := false
	for _, t := range k.tasks {
		if t.pgid == pgid && t.state < taskDead {
			found = true
			t.send(in)
		}
	}
	return found
}
