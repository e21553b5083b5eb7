package skas

import "time"

// auditor looks for stubs that use CPU time while they must be stopped: guest
// code that forges a report by flipping the word goes on running meanwhile.
type auditor struct {
	quit, done chan struct{}
}

// An honest stub that has reported needs a few microseconds to its wait. The
// limit leaves room for the slowest host.
//
// While no stub runs there is less to see, and looking four times a second would
// be most of what an idle guest costs: the period doubles up to a limit.
const (
	auditPeriod = 250 * time.Millisecond
	auditIdle   = 8 * auditPeriod
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
		period := auditPeriod
		t := time.NewTimer(period)
		defer t.Stop()
		for {
			select {
			case <-a.quit:
				return
			case <-t.C:
				if m.audit() {
					period = auditPeriod
				} else {
					period = min(2*period, auditIdle)
				}
				t.Reset(period)
			}
		}
	}()
	return a
}

func (a *auditor) close() {
	close(a.quit)
	<-a.done
}

// audit looks at every stub; busy says that one runs, or has since the last look.
func (m *Monitor) audit() (busy bool) {
	for _, x := range m.live() {
		// Whoever holds the turnstile runs the stub, and has other means.
		if !x.turnstile.TryLock() {
			busy = true
			continue
		}
		if !x.destroyed && !x.dead.Load() {
			now := audit{wakes: x.wakes, cpu: x.cpuTime()}
			if x.audit.wakes == now.wakes && x.audit.wakes != 0 && now.cpu-x.audit.cpu > auditLimit {
				_ = x.refuse("%v of CPU time used while stopped", now.cpu-x.audit.cpu) // the next run sees the death
			}
			busy = busy || x.audit != now
			x.audit = now
		}
		x.turnstile.Unlock()
	}
	return busy
}
