package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// deliverSignals acts on t's pending signals until one enters a handler or t
// stops or ends, and settles what becomes of an interrupted system call.
func (k *Kernel) deliverSignals(t *Task) {
	for {
		if t.dying {
			k.exitThread(t, t.status)
			return
		}
		if t.stopWanted {
			t.park()
			return
		}
		in, ok := t.dequeue(^t.blocked)
		if !ok {
			break
		}
		act := t.sig.actions[in.no]
		switch act.handler {
		case abi.SIG_IGN:
			continue
		case abi.SIG_DFL:
			k.traceSignal(t, &in)
			if k.defaultAction(t, &in) {
				return
			}
		default:
			k.leaveCall(t, act)
			k.traceSignal(t, &in)
			k.enterHandler(t, &in, act)
			return
		}
	}
	if t.call.active {
		// Nothing came of the interruption: the call goes on where it
		// was, its progress kept.
		t.call.restart = 0
		return
	}
	t.restoreSavedMask()
}

// defaultAction does what a signal does to a task that has not said anything;
// true means that t runs no further.
func (k *Kernel) defaultAction(t *Task, in *sigInfo) bool {
	bit := sigBit(in.no)
	switch {
	case bit&defaultNone != 0:
		return false
	case bit&stopSignals != 0:
		if in.no != int(unix.SIGSTOP) && k.orphaned(t.pgid) {
			return false // nobody could continue it
		}
		t.stop(in.no)
		return true
	}
	status := in.no
	if bit&coreSignals != 0 && t.dumpable && t.rlimits[unix.RLIMIT_CORE].Cur >= arch.PageSize {
		// As if core_pattern named a program that throws the dump away.
		status |= coreDumped
	}
	k.exit(t, status)
	return true
}

// coreDumped is the bit of a wait status that says so.
const coreDumped = 0x80

// leaveCall ends or restarts an interrupted system call before a handler runs.
func (k *Kernel) leaveCall(t *Task, act sigAction) {
	if !t.call.active {
		return
	}
	k.traceInterrupted(t, t.call.restart)
	again := t.call.restart == errRestartNoIntr ||
		t.call.restart == errRestartSys && act.flags&abi.SA_RESTART != 0
	if !again {
		k.endCall(t, 0, unix.EINTR)
		return
	}
	nr := t.call.nr
	t.call = call{}
	k.arch.Restart(&t.regs, nr)
}

// enterHandler builds the signal frame and points t at its handler.
func (k *Kernel) enterHandler(t *Task, in *sigInfo, act sigAction) {
	mask := t.blocked
	if t.haveSaved {
		mask, t.haveSaved = t.savedMask, false
	}
	onAlt := t.onAltStack()
	s := arch.Signal{
		No:       in.no,
		Info:     in.bytes(),
		Handler:  act.handler,
		Restorer: act.restorer,
		Mask:     mask,
		OnStack:  act.flags&abi.SA_ONSTACK != 0 && t.altFlags&abi.SS_DISABLE == 0 && !onAlt,
		AltBase:  t.altBase,
		AltSize:  t.altSize,
		AltFlags: t.altFlags,
		Fault:    t.trap,
	}
	t.saveX()
	regs := t.regs
	frame, at := k.arch.PushSignal(&regs, &s)
	// Without a restorer the handler has nowhere to return to; amd64 Linux
	// refuses such an action here, too.
	overflow := (s.OnStack || onAlt) && at <= t.altBase
	if overflow || act.flags&abi.SA_RESTORER == 0 || t.copyOut(at, frame) != 0 {
		if in.no == int(unix.SIGSEGV) {
			k.exit(t, in.no)
			return
		}
		t.force(kernelSignal(int(unix.SIGSEGV)))
		return
	}
	t.regs = regs
	if t.altFlags&abi.SS_AUTODISARM != 0 {
		t.noAltStack()
	}
	blocked := t.blocked | act.mask
	if act.flags&abi.SA_NODEFER == 0 {
		blocked |= sigBit(in.no)
	}
	t.setBlocked(blocked)
	if act.flags&abi.SA_RESETHAND != 0 {
		t.sig.actions[in.no].handler = abi.SIG_DFL
	}
}

// saveX makes t.regs.X current.
func (t *Task) saveX() {
	if host := t.space.host(); host != nil {
		host.SaveX(&t.regs)
	}
}

// onAltStack says that t runs on its alternate signal stack now.
func (t *Task) onAltStack() bool {
	if t.altFlags&(abi.SS_DISABLE|abi.SS_AUTODISARM) != 0 {
		return false
	}
	sp := t.k.arch.SP(&t.regs)
	return sp > t.altBase && uint64(sp-t.altBase) <= t.altSize
}

// restoreSavedMask ends the temporary mask of sigsuspend, ppoll or pselect6.
func (t *Task) restoreSavedMask() {
	if t.haveSaved {
		t.haveSaved = false
		t.setBlocked(t.savedMask)
	}
}

// tempMask installs a mask for the length of one system call.
func (t *Task) tempMask(m uint64) {
	if !t.haveSaved {
		t.savedMask, t.haveSaved = t.blocked, true
		t.setBlocked(m)
	}
}

func sysRtSigreturn(t *Task, _ args) (int64, unix.Errno) {
	t.saveX()
	ret, err := t.k.arch.PopSignal(&t.regs, func(a arch.Addr, p []byte) error {
		if e := t.copyIn(a, p); e != 0 {
			return e
		}
		return nil
	})
	if err != nil {
		t.k.traceGone(t)
		t.force(kernelSignal(int(unix.SIGSEGV)))
		return 0, errNeverReturns
	}
	// The result register is the one that numbers a call.
	result, _ := t.k.arch.Syscall(&t.regs)
	t.k.traceReturn(t, ret.Mask, int64(result))
	t.setBlocked(ret.Mask)
	// What sigaltstack would refuse is not taken from a frame, either; nobody
	// is told (restore_altstack in Linux).
	_ = t.setAltStack(ret.AltBase, ret.AltSize, ret.AltFlags)
	return 0, errNeverReturns
}
