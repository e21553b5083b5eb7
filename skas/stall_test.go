package skas

import (
	"testing"
	"time"

	"goskas/arch/amd64/asm"
	"goskas/guard"

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
