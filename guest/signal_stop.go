package guest

import (
	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// stop has every thread of t's process stop, beginning with t.
func (t *Task) stop(sig int) {
	t.stopSig = sig
	for _, o := range t.threads {
		if o.state < taskStopped {
			o.stopWanted = true
			if o != t {
				t.k.wake(o)
			}
		}
	}
	t.park()
}

// park is t's part in a stop of its process.
func (t *Task) park() {
	t.stopWanted = false
	t.state = taskStopped
	t.noteStop()
}

// noteStop tells the parent of a stop once the last thread takes part.
func (p *Process) noteStop() {
	if p.stopped || p.ending {
		return
	}
	some := false
	for _, t := range p.threads {
		if t.state < taskStopped {
			return
		}
		some = some || t.state == taskStopped
	}
	if !some {
		return
	}
	p.stopped, p.stopNews, p.contNews = true, true, false
	p.notifyParent(abi.CLD_STOPPED, int32(p.stopSig))
}

// resume continues a process that has stopped or is about to.
func (p *Process) resume() {
	some := false
	for _, t := range p.threads {
		some = some || t.stopWanted
		t.stopWanted = false
		if t.state == taskStopped {
			some = true
			p.k.enqueue(t)
		}
	}
	if !some {
		return
	}
	complete := p.stopped
	p.stopped, p.stopNews, p.contNews = false, false, true
	if complete {
		p.notifyParent(abi.CLD_CONTINUED, int32(unix.SIGCONT))
	} else {
		p.notifyParent(abi.CLD_STOPPED, int32(p.stopSig))
	}
}

// orphaned says that no member of a process group has a parent in the same
// session but another group: nobody could continue it.
func (k *Kernel) orphaned(pgid int) bool {
	for _, p := range k.procs {
		if p.pgid == pgid && !p.ended && p.parent != nil &&
			p.parent.pgid != pgid && p.parent.sid == p.sid {
			return false
		}
	}
	return true
}

// noteOrphan continues, after a hangup, a process group with stopped members
// that the end of a process has left orphaned: p's, if parent was what kept it
// from that.
func (k *Kernel) noteOrphan(p, parent *Process) {
	if parent == nil || parent.pgid == p.pgid || parent.sid != p.sid || !k.orphaned(p.pgid) {
		return
	}
	for _, o := range k.procs {
		if o.pgid == p.pgid && o.stopped {
			k.signalGroup(p.pgid, kernelSignal(int(unix.SIGHUP)))
			k.signalGroup(p.pgid, kernelSignal(int(unix.SIGCONT)))
			return
		}
	}
}
