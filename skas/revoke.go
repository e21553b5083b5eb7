package skas

import (
	"errors"
	"time"

	"goskas/arch"
	"goskas/internal/sys"
)

// ErrNotRevoked says that a stub could not be brought to prove that it has no
// mapping left that its page table does not grant. It may have been stopped from
// outside; nothing is lost, since what it may still map is not used elsewhere.
var ErrNotRevoked = errors.New("no proof that the stub has given up its mappings")

// proofTries bounds how often a proof is tried for one batch, with pauses that
// double up to maxProofPause: together about a second.
const (
	proofTries    = 64
	maxProofPause = 20 * time.Millisecond
)

// Revoke brings the stub's mappings in line with the page table and waits for
// the proof of it: from then on no guest code of this mm reaches a frame that
// the table does not grant. Who hands a frame of the mm to another one, or
// shares it with one, calls it first.
//
// Guards that have no such proof make no such promise: for them it does
// nothing, as UML leaves the old mappings until the next resume.
func (x *MM) Revoke() error {
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	return x.revokeLocked()
}

func (x *MM) revokeLocked() error {
	if !x.mon.guard.Sealed {
		return nil
	}
	if x.destroyed {
		return ErrStubDead
	}
	if !x.table.Unproved() && !x.table.Dirty() {
		return nil
	}
	x.proving, x.proof = true, true
	defer func() { x.proving = false }()
	x.mon.stats.proofs.Add(1)
	err := x.table.SyncAll(x.queue)
	// If that has failed, this clears the queue's error and runs nothing.
	if flushed := x.queue.Flush(); err == nil {
		err = flushed
	}
	switch {
	case errors.Is(err, ErrNotRevoked):
	case err != nil:
		return x.lost(err)
	case x.proof:
		x.table.Proved()
		return nil
	}
	x.mon.stats.unproved.Add(1)
	// The page table may change before the next batch, which must not have
	// both states: a guest that makes the old mapping again would have what
	// the new state has taken away, if it forges a report at that moment.
	for _, e := range x.queue.Drop() {
		x.table.Doubt(arch.Addr(e.Addr), arch.Addr(e.Addr+e.Length))
	}
	return ErrNotRevoked
}

// prove runs a batch until a wake-up has found the stub in its wait. To run it
// again does no harm: a batch is a final state.
func prove(x *MM) error {
	pause := time.Microsecond
	var over overruns
	for range proofTries {
		x.mon.stats.proofTries.Add(1)
		// A stub that was stopped from outside would keep us waiting.
		if !x.suspended() {
			x.proof = true
			if err := x.link.batch(x); err != nil || x.proof {
				return err
			}
		}
		// Let the stub, which has just reported, reach its wait. That takes
		// it next to no CPU time; guest code that has forged the report goes
		// on, and would have us try to the end, time and again.
		before := x.cpuTime()
		sys.Yield()
		time.Sleep(pause)
		if used := x.cpuTime() - before; over.note(used, auditLimit) {
			return x.refuse("%v of CPU time used between a report and the wait behind it, and not for the first time", used)
		}
		pause = min(2*pause, maxProofPause)
	}
	return ErrNotRevoked
}

// yield is how a vCPU lets a stub that has just reported reach its wait: the wake
// that finds it there is a proof.
type yield struct{ skip int }

// On a CPU that others want, a yield lasts for a turn of theirs, which is far more
// than a proof is worth: that is found out now and then only.
const (
	yieldLong = 200 * time.Microsecond
	yieldSkip = 32
)

// giveWay yields, or not. Both functions are the host's, but in tests.
func (y *yield) giveWay(yield func(), now func() time.Duration) {
	if y.skip > 0 {
		y.skip--
		return
	}
	start := now()
	yield()
	if now()-start > yieldLong {
		y.skip = yieldSkip
	}
}

// Reclaim forces proofs of revocation on all address spaces whose stubs are
// stopped, so that frames held for want of one become free.
func (m *Monitor) Reclaim() {
	for _, x := range m.live() {
		if x.table.Held() == 0 {
			continue
		}
		m.auditing.Lock() // the auditor holds a turnstile for a moment, whose stub does not run
		stopped := x.turnstile.TryLock()
		m.auditing.Unlock()
		if !stopped {
			continue
		}
		// Without a proof the frames stay where they are.
		_ = x.revokeLocked()
		x.turnstile.Unlock()
	}
}

// suspended reports whether somebody on the host has stopped the stub.
func (x *MM) suspended() bool {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	return !x.reaped && sys.Stopped(x.proc.PIDFD)
}
