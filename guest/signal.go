package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// numSignals is _NSIG of Linux; firstRT the first signal that queues.
const (
	numSignals = 64
	firstRT    = 32
	// maxQueued is the limit of the signals that wait in all processes
	// (RLIMIT_SIGPENDING of process 1).
	maxQueued = 1024
)

// sigAction is what a process does on a signal.
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
	coreSignals = synchronous | sigMask(unix.SIGQUIT, unix.SIGABRT, unix.SIGXCPU, unix.SIGXFSZ)
)

// ignores says that signal no would do nothing to a process.
func (p *Process) ignores(no int) bool {
	switch p.sig.actions[no].handler {
	case abi.SIG_IGN:
		return true
	case abi.SIG_DFL:
		return defaultNone&sigBit(no) != 0
	}
	return false
}

// deliverable is the set of signals that t has to look at now.
func (t *Task) deliverable() uint64 {
	if t.dying || t.stopWanted {
		return ^uint64(0)
	}
	return (t.pending.set | t.shared.set) &^ t.blocked
}

// dequeue takes the next pending signal of a set: those for t alone come before
// those for its process.
func (t *Task) dequeue(set uint64) (sigInfo, bool) {
	for {
		in, ok := t.pending.take(t.k, set)
		if !ok {
			in, ok = t.shared.take(t.k, set)
		}
		if !ok || in.timer == nil || in.timer.taken(&in) {
			return in, ok
		}
	}
}

// setBlocked changes the mask of blocked signals. Another thread has to see to
// what t would have taken.
func (t *Task) setBlocked(m uint64) {
	m &^= unblockable
	fresh := m &^ t.blocked
	t.blocked = m
	t.retarget(t.shared.set & fresh)
}

// retarget wakes a thread for each of the pending signals of a set.
func (p *Process) retarget(set uint64) {
	if set == 0 {
		return
	}
	for _, t := range p.threads {
		if t.state < taskZombie && set&^t.blocked != 0 {
			t.k.wake(t)
			set &= t.blocked
		}
	}
}

// signalGroup sends in to every process of a group and says whether there is
// one.
func (k *Kernel) signalGroup(pgid int, in sigInfo) bool {
	found := false
	for _, p := range k.procs {
		if p.pgid == pgid {
			found = true
			p.send(in)
		}
	}
	return found
}
