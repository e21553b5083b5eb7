package skas

import (
	"sync"
	"sync/atomic"

	"goskas/syscallq"
)

// Stats counts what a monitor's stubs did so far.
type Stats struct {
	Mode           string `json:"mode"`
	Guard          string `json:"guard"`
	Syscalls       uint64 `json:"syscalls"`
	Faults         uint64 `json:"faults"`
	Ticks          uint64 `json:"ticks"`
	Traps          uint64 `json:"traps"`
	TicksForwarded uint64 `json:"ticks_forwarded"`
	StubStarts     uint64 `json:"stub_starts"`
	StubDeaths     uint64 `json:"stub_deaths"`
	Refused        uint64 `json:"refused"`     // stubs killed for what they reported
	Stalled        uint64 `json:"stalled"`     // of these, for a tick that they did not report
	Notified       uint64 `json:"notified"`    // mapping calls that the listener answered
	Denied         uint64 `json:"denied"`      // of these, with EPERM
	Wakes          uint64 `json:"wakes"`       // of stubs
	Missed         uint64 `json:"missed"`      // of these, that found the stub not yet in its wait
	Proofs         uint64 `json:"proofs"`      // of revocation that were forced
	ProofTries     uint64 `json:"proof_tries"` // batches that this took
	Unproved       uint64 `json:"unproved"`    // that could not be had
	Held           uint64 `json:"held"`        // frames that wait for a proof now
	Switches       uint64 `json:"switches"`    // runs that loaded another task's extended state
	Batches        uint64 `json:"batches"`
	Flushes        uint64 `json:"flushes"`
	Entries        uint64 `json:"entries"`
	Merged         uint64 `json:"merged"`
	MaxBatch       uint64 `json:"max_batch"`
}

type counters struct {
	events         [Trap + 1]atomic.Uint64
	ticksForwarded atomic.Uint64
	stubStarts     atomic.Uint64
	stubDeaths     atomic.Uint64
	refused        atomic.Uint64
	stalled        atomic.Uint64
	notified       atomic.Uint64
	denied         atomic.Uint64
	wakes          atomic.Uint64
	missed         atomic.Uint64
	proofs         atomic.Uint64
	proofTries     atomic.Uint64
	unproved       atomic.Uint64
	switches       atomic.Uint64

	mu    sync.Mutex
	queue syscallq.Stats // of destroyed mms
}

func (c *counters) addQueue(q syscallq.Stats) {
	c.mu.Lock()
	c.queue.Add(q)
	c.mu.Unlock()
}

// Stats adds up all mms, living and dead. It waits for running guest code to
// stop, at most until its next tick.
func (m *Monitor) Stats() Stats {
	c := &m.stats
	var q syscallq.Stats
	var held uint64
	for _, x := range m.live() {
		held += uint64(x.table.Held())
		x.turnstile.Lock()
		if !x.destroyed {
			q.Add(x.queue.Stats())
		}
		x.turnstile.Unlock()
	}
	c.mu.Lock()
	q.Add(c.queue)
	c.mu.Unlock()
	return Stats{
		Mode: m.mode.String(), Guard: m.guard.String(),
		Syscalls: c.events[Syscall].Load(), Faults: c.events[PageFault].Load(),
		Ticks: c.events[Tick].Load(), Traps: c.events[Trap].Load(),
		TicksForwarded: c.ticksForwarded.Load(),
		StubStarts:     c.stubStarts.Load(), StubDeaths: c.stubDeaths.Load(),
		Refused: c.refused.Load(), Stalled: c.stalled.Load(),
		Wakes: c.wakes.Load(), Missed: c.missed.Load(),
		Proofs: c.proofs.Load(), ProofTries: c.proofTries.Load(), Unproved: c.unproved.Load(), Held: held,
		Notified: c.notified.Load(), Denied: c.denied.Load(), Switches: c.switches.Load(),
		Batches: q.Batches, Flushes: q.Flushes, Entries: q.Entries, Merged: q.Merged, MaxBatch: q.MaxLen,
	}
}
