package guest

import (
	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// send makes a signal pending for p, for whichever thread comes first. EAGAIN
// says that too many are queued.
func (p *Process) send(in sigInfo) unix.Errno { return p.post(nil, in) }

// send makes a signal pending for t and no other thread.
func (t *Task) send(in sigInfo) unix.Errno { return t.post(t, in) }

// post makes a signal pending for a thread, or with nil for all, and wakes who
// has to look at it.
func (p *Process) post(t *Task, in sigInfo) unix.Errno {
	if in.no == 0 || p.ended || p.ending || t != nil && t.state >= taskZombie {
		return 0
	}
	k, bit := p.k, sigBit(in.no)
	switch {
	case in.no == int(unix.SIGKILL):
		k.stats.Signals++
		p.end(in.no)
		return 0
	case bit == contBit:
		p.discard(stopSignals)
		p.resume()
	case bit&stopSignals != 0:
		p.discard(contBit)
	}
	q, looks := &p.shared, p.leader
	if t != nil {
		q, looks = &t.pending, t
	}
	if p.ignores(in.no) && bit&looks.blocked == 0 {
		return 0
	}
	if e := q.add(k, in, p.rlimits[unix.RLIMIT_SIGPENDING].Cur); e != 0 {
		return e
	}
	k.stats.Signals++
	p.sigNews.Wake()
	if t == nil {
		if t = p.taker(bit); t == nil {
			return 0
		}
	}
	if bit&^t.blocked != 0 || bit&t.sigWait != 0 {
		k.wake(t)
	}
	return 0
}

// taker is the thread that is to look at a signal for the process: the leader
// if it can, and one that waits for something rather than one that is busy with
// other signals. It is nil if every thread has the signal blocked.
func (p *Process) taker(bit uint64) *Task {
	var busy *Task
	for _, t := range p.threads {
		switch {
		case t.state >= taskStopped || bit&t.blocked != 0 && bit&t.sigWait == 0:
		case t.state == taskBlocked || (t.pending.set|p.shared.set&^bit)&^t.blocked == 0:
			return t
		case busy == nil:
			busy = t
		}
	}
	return busy
}

// force sends a signal that t's own last instruction caused. Blocked or
// ignored, it kills.
func (t *Task) force(in sigInfo) {
	if bit := sigBit(in.no); t.blocked&bit != 0 || t.sig.actions[in.no].handler == abi.SIG_IGN {
		t.sig.actions[in.no] = sigAction{}
		t.setBlocked(t.blocked &^ bit)
	}
	t.send(in)
}

// kill ends p with signal sig whatever it has arranged for.
func (p *Process) kill(sig unix.Signal) { p.end(int(sig)) }

// discard drops pending signals of p and all its threads.
func (p *Process) discard(set uint64) {
	p.shared.discard(p.k, set)
	for _, t := range p.threads {
		t.pending.discard(p.k, set)
	}
}
