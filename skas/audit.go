package skas

import "time"

// auditor looks for stubs that use CPU time while they must be stopped: guest
// code that forges a report by flipping the word goes on running meanwhile.
type auditor struct {
	quit, done chan struct{}
	mms        []*MM // room for a list of them: round trips may be under way
}

// An honest stub that has reported needs a few microseconds to its wait.
//
// While no stub runs there is less to see, and looking four times a second would
// be most of what an idle guest costs: the period doubles up to a limit.
const (
	auditPeriod = 250 * time.Millisecond
	auditIdle   = 8 * auditPeriod
	auditLimit  = 5 * time.Millisecond
)

// overruns counts the looks at a stub that found too much CPU time used since the
// last one.
//
// One such look proves nothing: what interrupts and a hypervisor take counts as the
// stub's, and on a busy virtual machine, where a thread that only read its clock
// missed 5 to 12 ms twice a second, that can hit an honest stub on the few
// instructions to its report, or from there to the wait. It does not hit it there
// time and again; guest code that goes on uses the CPU at every look.
type overruns int

const overrunLimit = 3

// note adds a look; guilty says that the stub cannot be honest.
func (o *overruns) note(used, limit time.Duration) (guilty bool) {
	if used > limit {
		*o++
	}
	return *o >= overrunLimit
}

// audit is what was seen of a stopped stub: its CPU time after the given number
// of wakes, and what it has used since, beyond the limit.
type audit struct {
	wakes    uint64
	cpu      time.Duration
	overruns overruns
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
				if a.look(m) {
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

// look looks at every stub; busy says that one runs, or has since the last look.
func (a *auditor) look(m *Monitor) (busy bool) {
	a.mms = m.appendLive(a.mms[:0])
	for _, x := range a.mms {
		if x.lookAt() {
			busy = true
		}
	}
	clear(a.mms) // keep none that is destroyed meanwhile
	return busy
}

// lookAt says whether the stub runs, or has since the last look.
func (x *MM) lookAt() (busy bool) {
	x.mon.auditing.Lock()
	defer x.mon.auditing.Unlock()
	// Whoever holds the turnstile runs the stub, and has other means.
	if !x.turnstile.TryLock() {
		return true
	}
	defer x.turnstile.Unlock()
	if x.destroyed || x.dead.Load() {
		return false
	}
	now := audit{wakes: x.wakes, cpu: x.cpuTime()}
	if x.audit.wakes == now.wakes && now.wakes != 0 {
		now.overruns = x.audit.overruns
		if used := now.cpu - x.audit.cpu; now.overruns.note(used, auditLimit) {
			_ = x.refuse("%v of CPU time used while stopped, and not for the first time", used) // the next run sees the death
		}
	}
	busy = x.audit != now
	x.audit = now
	return busy
}
