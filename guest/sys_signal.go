package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// sigsetSize is the only size of a signal set that there is.
const sigsetSize = 8

func validSignal(no int) bool { return no >= 1 && no <= numSignals }

// knownFlags are the flags of an action that stay; the others are cleared, so
// that a program can tell what there is (linux/signal_types.h).
const knownFlags = abi.SA_NOCLDSTOP | abi.SA_NOCLDWAIT | abi.SA_SIGINFO | abi.SA_ONSTACK | abi.SA_RESTART |
	abi.SA_NODEFER | abi.SA_RESETHAND | abi.SA_EXPOSE_TAGBITS | abi.SA_RESTORER

func sysRtSigaction(t *Task, a args) (int64, unix.Errno) {
	no, act, old := a.int(0), a.addr(1), a.addr(2)
	if a[3] != sigsetSize || !validSignal(no) {
		return 0, unix.EINVAL
	}
	if act != 0 && sigBit(no)&unblockable != 0 {
		return 0, unix.EINVAL
	}
	slot := &t.sig.actions[no]
	prev := *slot
	if act != 0 {
		var w [4]uint64
		if e := t.loadWords(act, w[:]); e != 0 {
			return 0, e
		}
		*slot = sigAction{handler: arch.Addr(w[0]), flags: w[1], restorer: arch.Addr(w[2]), mask: w[3] &^ unblockable}
		slot.flags &= knownFlags
		if t.ignores(no) {
			t.discard(sigBit(no))
		}
	}
	if old != 0 {
		if e := t.storeWords(old, uint64(prev.handler), prev.flags, uint64(prev.restorer), prev.mask); e != 0 {
			return 0, e
		}
	}
	return 0, 0
}

func sysRtSigprocmask(t *Task, a args) (int64, unix.Errno) {
	if a[3] != sigsetSize {
		return 0, unix.EINVAL
	}
	prev := t.blocked
	if set := a.addr(1); set != 0 {
		m, e := t.loadU64(set)
		if e != 0 {
			return 0, e
		}
		switch a.int(0) {
		case unix.SIG_BLOCK:
			t.setBlocked(prev | m)
		case unix.SIG_UNBLOCK:
			t.setBlocked(prev &^ m)
		case unix.SIG_SETMASK:
			t.setBlocked(m)
		default:
			return 0, unix.EINVAL
		}
	}
	if old := a.addr(2); old != 0 {
		return 0, t.storeU64(old, prev)
	}
	return 0, 0
}

func sysRtSigpending(t *Task, a args) (int64, unix.Errno) {
	if a[1] > sigsetSize {
		return 0, unix.EINVAL
	}
	return 0, t.storeU64(a.addr(0), (t.pending.set|t.shared.set)&t.blocked)
}

func sysRtSigsuspend(t *Task, a args) (int64, unix.Errno) {
	m, e := t.loadSigset(a.addr(0), a[1])
	if e != 0 {
		return 0, e
	}
	t.tempMask(m)
	return t.block(errRestartNoHand)
}

func sysPause(t *Task, _ args) (int64, unix.Errno) { return t.block(errRestartNoHand) }

func sysRtSigtimedwait(t *Task, a args) (int64, unix.Errno) {
	set, e := t.loadSigset(a.addr(0), a[3])
	if e != 0 {
		return 0, e
	}
	set &^= unblockable
	if e := t.loadTimeout(a.addr(2)); e != 0 {
		return 0, e
	}
	t.sigWait = 0
	if in, ok := t.dequeue(set); ok {
		if info := a.addr(1); info != 0 {
			b := in.bytes()
			if e := t.copyOut(info, b[:]); e != 0 {
				return 0, e
			}
		}
		return int64(in.no), 0
	}
	if t.expired() {
		return 0, unix.EAGAIN
	}
	t.sigWait = set
	v, e := t.block(unix.EINTR)
	if e != errBlocked {
		t.sigWait = 0
	}
	return v, e
}

func sysSigaltstack(t *Task, a args) (int64, unix.Errno) {
	prevBase, prevSize, prevFlags := t.altBase, t.altSize, t.altFlags
	on := t.onAltStack()
	if ss := a.addr(0); ss != 0 {
		var w [3]uint64 // sp, flags and a pad, size
		if e := t.loadWords(ss, w[:]); e != 0 {
			return 0, e
		}
		if e := t.setAltStack(arch.Addr(w[0]), w[2], uint32(w[1])); e != 0 {
			return 0, e
		}
	}
	if old := a.addr(1); old != 0 {
		if on {
			prevFlags |= abi.SS_ONSTACK
		}
		return 0, t.storeWords(old, uint64(prevBase), uint64(prevFlags), prevSize)
	}
	return 0, 0
}

// setAltStack makes a range of memory the alternate signal stack, if t is not
// running on the present one.
func (t *Task) setAltStack(base arch.Addr, size uint64, flags uint32) unix.Errno {
	if t.onAltStack() {
		return unix.EPERM
	}
	switch mode := flags &^ abi.SS_AUTODISARM; {
	case mode == abi.SS_DISABLE:
		t.altBase, t.altSize, t.altFlags = 0, 0, flags
	case mode != 0 && mode != abi.SS_ONSTACK:
		return unix.EINVAL
	case size < abi.MINSIGSTKSZ:
		return unix.ENOMEM
	default:
		t.altBase, t.altSize, t.altFlags = base, size, flags&^abi.SS_ONSTACK
	}
	return 0
}

func sysKill(t *Task, a args) (int64, unix.Errno) {
	pid, no := a.int(0), a.int(1)
	in := t.userSignal(no, abi.SI_USER)
	if no != 0 && !validSignal(no) {
		in.no = 0 // whether there is a process is looked at first
	}
	found := false
	switch {
	case pid > 0:
		if target := t.k.tasks[pid]; target != nil {
			found = true
			target.Process.send(in)
		}
	case pid == 0:
		found = t.k.signalGroup(t.pgid, in)
	case pid == -1:
		for _, target := range t.k.procs {
			if target != t.Process && target != t.k.init {
				found = true
				target.send(in)
			}
		}
	default:
		found = t.k.signalGroup(-pid, in)
	}
	switch {
	case !found:
		return 0, unix.ESRCH
	case in.no != no:
		return 0, unix.EINVAL
	}
	return 0, 0
}

func sysTkill(t *Task, a args) (int64, unix.Errno) { return t.tkill(-1, a.int(0), a.int(1)) }

func sysTgkill(t *Task, a args) (int64, unix.Errno) {
	if a.int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return t.tkill(a.int(0), a.int(1), a.int(2))
}

// tkill sends a signal to a thread, of the process tgid if that is not -1.
func (t *Task) tkill(tgid, tid, no int) (int64, unix.Errno) {
	if tid <= 0 {
		return 0, unix.EINVAL
	}
	target := t.k.tasks[tid]
	switch {
	case target == nil || tgid != -1 && tgid != target.pid:
		return 0, unix.ESRCH
	case no != 0 && !validSignal(no):
		return 0, unix.EINVAL
	}
	return 0, target.send(t.userSignal(no, abi.SI_TKILL))
}

func sysRtSigqueueinfo(t *Task, a args) (int64, unix.Errno) {
	return t.queueInfo(-1, a.int(0), a.int(1), a.addr(2))
}

func sysRtTgsigqueueinfo(t *Task, a args) (int64, unix.Errno) {
	if a.int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return t.queueInfo(a.int(0), a.int(1), a.int(2), a.addr(3))
}

// queueInfo sends a signal with a siginfo of the sender's own, to the process of
// tid, or if tgid is not -1 to that thread of it.
func (t *Task) queueInfo(tgid, tid, no int, at arch.Addr) (int64, unix.Errno) {
	raw := new([abi.SI_SIZE]byte)
	if e := t.copyIn(at, raw[:]); e != 0 {
		return 0, e
	}
	target := t.k.tasks[tid]
	switch code := int32(le.Uint32(raw[abi.SI_OFF_CODE:])); {
	case tgid != -1 && tid <= 0:
		return 0, unix.EINVAL
	case (code >= 0 || code == abi.SI_TKILL) && tid != t.tid:
		return 0, unix.EPERM // would pretend to come from the kernel
	case target == nil || tgid != -1 && target.pid != tgid:
		return 0, unix.ESRCH
	case no != 0 && !validSignal(no):
		return 0, unix.EINVAL
	}
	le.PutUint32(raw[abi.SI_OFF_SIGNO:], uint32(no))
	in := sigInfo{no: no, raw: raw}
	if tgid != -1 {
		return 0, target.send(in)
	}
	return 0, target.Process.send(in)
}

// loadSigset reads a set of signals of a size that the guest tells.
func (t *Task) loadSigset(at arch.Addr, size uint64) (uint64, unix.Errno) {
	if size != sigsetSize {
		return 0, unix.EINVAL
	}
	return t.loadU64(at)
}

// loadTimeout bounds the wait of t's system call by a relative time, at the first
// attempt and if there is one.
func (t *Task) loadTimeout(at arch.Addr) unix.Errno {
	if at == 0 || t.call.timed {
		return 0
	}
	d, e := t.loadTimespec(at)
	if e == 0 {
		t.setTimeout(d)
	}
	return e
}

// loadTimespec reads a relative time.
func (t *Task) loadTimespec(a arch.Addr) (time.Duration, unix.Errno) {
	var w [2]uint64
	if e := t.loadWords(a, w[:]); e != 0 {
		return 0, e
	}
	return timespec(w)
}

// timespec converts a struct timespec; times beyond 292 years are forever.
func timespec(w [2]uint64) (time.Duration, unix.Errno) {
	sec, nsec := int64(w[0]), int64(w[1])
	if sec < 0 || nsec < 0 || nsec >= 1e9 {
		return 0, unix.EINVAL
	}
	if sec >= int64(forever/time.Second) {
		return forever, 0
	}
	return time.Duration(sec)*time.Second + time.Duration(nsec), 0
}
