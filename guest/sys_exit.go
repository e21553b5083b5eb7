package guest

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

func sysExit(t *Task, a args) (int64, unix.Errno) {
	t.k.traceGone(t)
	t.k.exit(t, int(a[0]&0xff)<<8)
	return 0, errNeverReturns
}

// exit ends t with a wait status and tells its parent.
func (k *Kernel) exit(t *Task, status int) {
	k.traceExited(t, status)
	if t.clearTID != 0 && t.space != nil {
		a := t.clearTID
		t.clearTID = 0
		if t.storeU32(a, 0) == 0 {
			k.futexWake(t, a, 1, false, ^uint32(0))
		}
	}
	t.stime += k.now() - t.kernelSince
	t.kernelSince = k.now()
	t.release()
	t.call = call{}
	t.state, t.status = taskZombie, status
	t.pending, t.queued = 0, nil

	for _, c := range t.children {
		c.parent = k.init
		if c.pdeathSig != 0 {
			c.send(kernelSignal(c.pdeathSig))
		}
		if k.init != nil && k.init != t {
			k.init.children = append(k.init.children, c)
			if c.state == taskZombie {
				c.exitSig = int(unix.SIGCHLD)
				c.tellEnd()
			}
		}
	}
	t.children = nil
	if t == k.init {
		k.status = status
		k.shutdown()
		return
	}
	t.tellEnd()
}

// release gives back everything that t holds except for its number and status.
func (t *Task) release() {
	t.unwait()
	t.itimerReal.stop(t.k)
	t.leaveFutex()
	t.dropSpace()
	if t.files != nil {
		t.files.unref()
		t.files = nil
	}
	t.regs.X = nil
}

// tellEnd notifies the parent of a zombie, or buries it if the parent has said
// that it does not want to know.
func (t *Task) tellEnd() {
	p := t.parent
	code, status := int32(abi.CLD_EXITED), int32(t.status>>8)
	if sig := t.status & 0x7f; sig != 0 {
		code, status = abi.CLD_KILLED, int32(sig)
	}
	if t.exitSig == int(unix.SIGCHLD) {
		act := p.sig.actions[unix.SIGCHLD]
		if act.handler == abi.SIG_IGN || act.flags&abi.SA_NOCLDWAIT != 0 {
			t.bury()
		}
		if act.handler == abi.SIG_IGN {
			p.childDone.Wake()
			return
		}
	}
	if t.exitSig != 0 {
		p.send(sigInfo{no: t.exitSig, code: code, pid: t.pid, status: status})
	}
	p.childDone.Wake()
}

// notifyParent reports a stop or a continue.
func (t *Task) notifyParent(code, status int32) {
	p := t.parent
	if p == nil {
		return
	}
	if p.sig.actions[unix.SIGCHLD].flags&abi.SA_NOCLDSTOP == 0 {
		p.send(sigInfo{no: int(unix.SIGCHLD), code: code, pid: t.pid, status: status})
	}
	p.childDone.Wake()
}

// bury removes a zombie; its resource use counts as the parent's children's.
func (t *Task) bury() {
	t.state = taskDead
	delete(t.k.tasks, t.pid)
	if p := t.parent; p != nil {
		p.children = slices.DeleteFunc(p.children, func(c *Task) bool { return c == t })
		p.cutime += t.utime + t.cutime
		p.cstime += t.stime + t.cstime
		p.cminflt += t.minflt + t.cminflt
		p.cmaxRSS = max(p.cmaxRSS, t.maxRSS, t.cmaxRSS)
	}
}

// ticks converts to clock_t, which counts hundredths of a second.
func ticks(d time.Duration) uint64 { return uint64(d / (10 * time.Millisecond)) }
