package guest

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

func sysExit(t *Task, a args) (int64, unix.Errno) {
	t.k.traceGone(t)
	t.k.exitThread(t, int(a[0]&0xff)<<8)
	return 0, errNeverReturns
}

func sysExitGroup(t *Task, a args) (int64, unix.Errno) {
	t.k.traceGone(t)
	t.k.exit(t, int(a[0]&0xff)<<8)
	return 0, errNeverReturns
}

// exit ends t, and with it its process, with a wait status.
func (k *Kernel) exit(t *Task, status int) {
	t.end(status)
	k.exitThread(t, t.status)
}

// end has every thread of p end as soon as it comes to it. The first status
// counts.
func (p *Process) end(status int) {
	if p.ending || p.ended {
		return
	}
	p.ending, p.status = true, status
	for _, t := range p.threads {
		t.doom()
	}
}

// doom has t end before it runs any more guest code.
func (t *Task) doom() {
	if t.state >= taskZombie {
		return
	}
	t.dying, t.stopWanted = true, false
	if t.state == taskStopped {
		t.k.enqueue(t)
	}
	t.k.wake(t)
}

// exitThread ends t. The last thread takes the process with it; a leader that
// is not the last stays as a zombie.
func (k *Kernel) exitThread(t *Task, status int) {
	p := t.Process
	k.traceExited(t, status)
	t.leaveMemory()
	t.account()
	t.leaveChildren()
	t.release()
	t.state = taskZombie
	t.pending.clear(k)
	t.stopWanted = false
	p.live--
	if t != p.leader {
		t.bury()
	}
	if p.live == 0 {
		if !p.ending {
			p.status = status // of the last, as Linux has it since 6.0
		}
		p.finish()
		return
	}
	p.retarget(p.shared.set &^ t.blocked)
	p.noteStop()
	p.threadGone.Wake()
}

// leaveChildren finds the children that t has made another thread to belong to,
// or process 1.
func (t *Task) leaveChildren() {
	k, p := t.k, t.Process
	var heir *Task
	for _, o := range p.threads {
		if o != t && o.state < taskZombie {
			heir = o
			break
		}
	}
	var left []*Process
	for _, c := range p.children {
		if c.forker == t {
			for _, o := range c.threads {
				if o.pdeathSig != 0 {
					c.send(sigInfo{no: o.pdeathSig, code: abi.SI_USER, pid: p.pid})
				}
			}
			c.forker = heir
		}
		if heir != nil {
			continue
		}
		left = append(left, c)
		c.parent = k.init
		if k.init != nil && k.init != p {
			c.forker = k.init.leader
			k.init.children = append(k.init.children, c)
			c.exitSig = int(unix.SIGCHLD)
			if c.ended {
				c.tellEnd()
			}
		}
	}
	if heir == nil {
		p.children = nil
	}
	for _, c := range left {
		k.noteOrphan(c, p)
	}
}

// finish ends a process that has no thread left, and tells its parent.
func (p *Process) finish() {
	k := p.k
	p.ended = true
	p.stopped = false
	p.stopTimers()
	p.shared.clear(k)
	if p == k.init {
		k.status = p.status
		k.shutdown()
		return
	}
	k.leaveSession(p)
	k.noteOrphan(p, p.parent)
	p.tellEnd()
}

// endCode is the end of p as a siginfo tells it.
func (p *Process) endCode() (code, status int32) {
	switch sig := p.status & 0x7f; {
	case sig == 0:
		return abi.CLD_EXITED, int32(p.status >> 8)
	case p.status&coreDumped != 0:
		return abi.CLD_DUMPED, int32(sig)
	default:
		return abi.CLD_KILLED, int32(sig)
	}
}

// tellEnd notifies the parent of a zombie, or buries it if the parent has said
// that it does not want to know.
func (p *Process) tellEnd() {
	parent := p.parent
	if p.exitSig == int(unix.SIGCHLD) {
		act := parent.sig.actions[unix.SIGCHLD]
		if act.handler == abi.SIG_IGN || act.flags&abi.SA_NOCLDWAIT != 0 {
			p.bury()
		}
		if act.handler == abi.SIG_IGN {
			parent.childDone.Wake()
			return
		}
	}
	if p.exitSig != 0 {
		code, status := p.endCode()
		parent.send(p.childSignal(p.exitSig, code, status))
	}
	parent.childDone.Wake()
}

// childSignal is what a parent is sent about p.
func (p *Process) childSignal(no int, code, status int32) sigInfo {
	u := p.used()
	return sigInfo{no: no, code: code, pid: p.pid, status: status, utime: ticks(u.utime), stime: ticks(u.stime)}
}

// notifyParent reports a stop or a continue.
func (p *Process) notifyParent(code, status int32) {
	parent := p.parent
	if parent == nil {
		return
	}
	act := parent.sig.actions[unix.SIGCHLD]
	if act.handler != abi.SIG_IGN && act.flags&abi.SA_NOCLDSTOP == 0 {
		parent.send(p.childSignal(int(unix.SIGCHLD), code, status))
	}
	parent.childDone.Wake()
}

// bury removes a zombie; its resource use counts as the parent's children's.
func (p *Process) bury() {
	p.leader.bury()
	delete(p.k.procs, p.pid)
	if parent := p.parent; parent != nil {
		parent.children = slices.DeleteFunc(parent.children, func(c *Process) bool { return c == p })
		parent.kids.add(&p.gone)
		parent.kids.add(&p.kids)
	}
}

// ticks converts to clock_t, which counts hundredths of a second.
func ticks(d time.Duration) uint64 { return uint64(d / (10 * time.Millisecond)) }
