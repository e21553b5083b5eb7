package skas

import (
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Without ticks there is none to report: a stub that computed for three looks
// was once killed for that.
func TestKernelNoTicksNoStall(t *testing.T) {
	t.Setenv("SKAS_GUARD", guard.Validate.String())
	r := newRig(t, 0)
	x, regs := r.program(func(a *asm.Assembler) { a.Label("loop"); a.Jmp("loop") })
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
