package skas

import (
	"testing"
	"time"

	"goskas/guard"
)

// A stub may lose time to the hypervisor once, also on its way to the wait.
func TestKernelAuditIsNotOfAHypervisorsMaking(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(callForever)
	run := func() {
		t.Helper()
		if ev := r.run(x, regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
	}
	// look is one at a stub that has used that much since the last.
	look := func(used time.Duration) {
		r.mon.auditing.Lock()
		x.audit.wakes = x.wakes
		x.audit.cpu = x.cpuTime() - used
		r.mon.auditing.Unlock()
		x.lookAt()
	}
	run()
	x.lookAt()
	for range 2 {
		for range overrunLimit - 1 {
			look(time.Second)
		}
		run() // has reported again: forgotten
		x.lookAt()
	}
	for range 2 * overrunLimit {
		look(0)
	}
	for range overrunLimit - 1 {
		look(time.Second)
	}
	run()
	if s := r.mon.Stats(); s.Refused != 0 {
		t.Fatalf("%d killed for what they lost", s.Refused)
	}
	x.lookAt()
	for range overrunLimit {
		look(time.Second)
	}
	if s := r.mon.Stats(); s.Refused != 1 {
		t.Errorf("%d killed for what they used, time and again", s.Refused)
	}
}
