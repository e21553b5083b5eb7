package skas

import (
	"errors"
	"testing"
	"time"

	"goskas/arch"
	"goskas/guard"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Without ticks there is none to report: a stub that computed for three looks
// was once killed for that.
func TestKernelNoTicksNoStall(t *testing.T) {
	t.Setenv("SKAS_GUARD", guard.Validate.String())
	r := newRig(t, 0)
	x, regs := r.program(spin)
	time.AfterFunc(300*time.Millisecond, func() { unix.Kill(x.PID(), unix.SIGKILL) })
	_, _ = r.vcpu.Run(x, regs)
	if s := r.mon.Stats(); s.Stalled != 0 {
		t.Errorf("killed for a stall: %+v", s)
	}
}

// A guest that moved 24 MiB, as apt does with its cache, was once killed on a busy
// host: its stub took 42 ms to give up the pages, and had leave for 41.
func TestKernelStallAllowsForManyPages(t *testing.T) {
	r := newRig(t, 100)
	frames := r.mon.mem.Stats().Total
	none, all := r.mon.stallLimit(nil), r.mon.stallLimit([]stubabi.Entry{{Length: uint64(frames) * arch.PageSize}})
	if got, least := all-none, time.Duration(frames)*14*time.Microsecond; got < least {
		t.Errorf("%v for %d pages, not %v", got, frames, least)
	}
	// More pages than there are frames are not there.
	if more := r.mon.stallLimit([]stubabi.Entry{{Length: 1 << 40}}); more != all {
		t.Errorf("%v for a terabyte, %v for all frames", more, all)
	}
}

// On a virtual machine whose CPUs were taken away for a while, honest stubs were once
// killed: what the hypervisor takes counts as the CPU time of whoever runs.
func TestKernelStallIsNotOfAHypervisorsMaking(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(callForever)
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Fatalf("%+v", ev)
	}
	used := func(before, since time.Duration, n overruns) forward {
		now := x.cpuTime()
		return forward{pending: true, cpu: now - before, cpuSeen: now - since, overruns: n}
	}
	x.forward = used(time.Second, time.Second, 0)
	for _, look := range []func(*MM, *VCPU) error{(*MM).judge, (*MM).look, (*MM).look, (*MM).look} {
		if err := look(x, r.vcpu); err != nil {
			t.Fatalf("killed for a second that it lost once: %v", err)
		}
		// The next look is soon, whenever the next tick is.
		if x.forward.overruns != 1 || x.nextLook(r.vcpu) > hostNow()+2*suspectLimit {
			t.Fatalf("%+v", x.forward)
		}
	}
	// One that reports is forgotten.
	if ev := r.run(x, regs); ev.Kind != Syscall || x.forward.overruns != 0 {
		t.Fatalf("%+v, %+v", ev, x.forward)
	}
	// One that uses more, time and again, is not.
	x.forward = used(time.Second, 2*suspectLimit, 1)
	if err := x.look(r.vcpu); err != nil || x.forward.overruns != 2 {
		t.Fatalf("%+v, %v", x.forward, err)
	}
	x.forward = used(time.Second, 2*suspectLimit, 2)
	if err := x.look(r.vcpu); !errors.Is(err, ErrStubDead) {
		t.Errorf("error %v", err)
	}
	if s := r.mon.Stats(); s.Stalled != 1 {
		t.Errorf("%d stalled", s.Stalled)
	}
}
