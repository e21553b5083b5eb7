package skas

import "time"

// auditor looks for stubs that use CPU time while they must be stopped: guest
// code that forges a report by flipping the word goes on running meanwhile.
type auditor struct {
	quit, done chan struct{}
}

// An honest stub that has reported needs a few microseconds to its wait. The
// limit leaves room for the slowest host.
const (
	auditPeriod = 250 * time.Millisecond
	auditLimit  = 5 * time.Millisecond
)

// audit is what was seen of a stopped stub: its CPU time after the given number
// of wakes.
type audit struct {
	wakes uint64
	cpu   time.Duration
}

func (m *Monitor) startAuditor() *auditor {
	a := &auditor{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		t := time.NewTicker(auditPeriod)
		defer t.Stop()
		for {
			select {
			case <-a.quit:
				return
			case <-t.C:
				m.audit()
			}
		}
	}()
	return a
}

func (a *auditor) close() {
	close(a.quit)
	<-a.done
}

func (m *Monitor) audit() {
	for _, x := range m.live() {
		// Whoever holds the turnstile runs the stub, and has other means.
		if !x.turnstile.TryLock() {
			continue
		}
		if !x.destroyed && !x.dead.Load() {
			now := audit{wakes: x.wakes, cpu: x.cpuTime()}
			if x.audit.wakes == now.wakes && x.audit.wakes != 0 && now.cpu-x.audit.cpu > auditLimit {
				_ = x.refuse("%v of CPU time used while stopped", now.cpu-x.audit.cpu) // the next run sees the death
			}
			x.audit = now
		}
		x.turnstile.Unlock()
	}
}
