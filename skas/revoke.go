package skas

import (
	"errors"
	"time"

	"goskas/internal/sys"
)

// ErrNotRevoked says that a stub could not be brought to prove that it has no
// mapping left that its page table does not grant. It may have been stopped from
// outside; nothing is lost, since what it may still map is not used elsewhere.
var ErrNotRevoked = errors.New("no proof that the stub has given up its mappings")

// proofTries bounds how often a proof is tried, with pauses that double up to
// maxProofPause: together about a second.
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
	pause := time.Microsecond
	for try := range proofTries {
		x.proof = true
		if err := x.table.SyncAll(x.queue); err != nil {
			return x.refuse("%v", err)
		}
		if len(x.queue.Entries()) == 0 && x.proof && !x.table.Unproved() {
			return nil
		}
		if try == 0 {
			x.mon.stats.proofs.Add(1)
		}
		x.mon.stats.proofTries.Add(1)
		// A stub that was stopped from outside would keep us waiting.
		if !x.suspended() {
			if err := x.queue.Flush(); err != nil {
				return x.refuse("%v", err)
			}
			if x.proof {
				x.table.Proved()
				return nil
			}
		}
		// Let the stub, which has just reported, reach its wait.
		if sys.Yield(); try > 0 {
			time.Sleep(pause)
			pause = min(2*pause, maxProofPause)
		}
	}
	x.mon.stats.unproved.Add(1)
	return ErrNotRevoked
}

// Reclaim forces proofs of revocation on all address spaces whose stubs are
// stopped, so that frames held for want of one become free.
func (m *Monitor) Reclaim() {
	for _, x := range m.live() {
		if x.table.Held() == 0 || !x.turnstile.TryLock() {
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
