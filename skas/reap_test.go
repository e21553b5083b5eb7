package skas

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"goskas/arch"
	"goskas/guard"

	"golang.org/x/sys/unix"
)

// Destroying an mm whose stub had died already was once counted for the stub
// that had got its pidfd's number, and Quiesce waited for ever.
func TestKernelDestroyAfterDeathConcernsNoOtherStub(t *testing.T) {
	r := newRig(t, 0)
	var dead []*MM // several: a start takes numbers for its socket pair, too
	for range 6 {
		dead = append(dead, r.newMM())
	}
	for _, x := range dead {
		unix.Kill(x.PID(), unix.SIGKILL)
	}
	for _, x := range dead {
		for !r.closed(x) {
			time.Sleep(time.Millisecond)
		}
	}
	heir := r.newMM()
	same := func(x *MM) bool { return x.proc.PIDFD == heir.proc.PIDFD }
	if !slices.ContainsFunc(dead, same) {
		t.Fatalf("no dead stub had pidfd %d", heir.proc.PIDFD)
	}
	for _, x := range dead {
		x.Destroy()
	}

	quiet := make(chan struct{})
	go func() {
		r.mon.Quiesce()
		close(quiet)
	}()
	select {
	case <-quiet:
	case <-time.After(20 * time.Second):
		t.Fatal("Quiesce waits for a stub that nobody killed")
	}
}

// Quiesce once returned when a stub had been reaped, but its pidfd was still open.
func TestKernelQuiesceReturnsDescriptors(t *testing.T) {
	r := newRig(t, 0)
	for i := range 300 {
		x := r.newMM()
		x.Destroy()
		r.mon.Quiesce()
		var st unix.Stat_t
		if err := unix.Fstat(x.proc.PIDFD, &st); err != unix.EBADF {
			t.Fatalf("round %d: pidfd %d is still open: %v", i, x.proc.PIDFD, err)
		}
	}
}

// Run once pinned a stub by its pid, also when it had been reaped and the pid
// could be another process's.
func TestKernelPinConcernsNoOtherProcess(t *testing.T) {
	r := newRig(t, 0)
	x := r.newMM()
	unix.Kill(x.PID(), unix.SIGKILL)
	for !r.closed(x) {
		time.Sleep(time.Millisecond)
	}
	other := exec.Command("sleep", "100")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(other.Process.Pid, &before); err != nil {
		t.Fatal(err)
	}
	x.proc.PID = other.Process.Pid // as if it had got the number
	for cpu := range 2 {
		x.pin(cpu)
		if err := unix.SchedGetaffinity(other.Process.Pid, &after); err != nil {
			t.Fatal(err)
		}
		if before.Count() > 1 && after != before {
			t.Errorf("pinned to CPU %d: %v was %v", cpu, after, before)
		}
	}
	x.Destroy()
}

// A stub that is killed closes its socket some time before it can be reaped. It
// was once blamed for that, and counted as killed by the monitor.
func TestKernelDyingStubIsNotBlamed(t *testing.T) {
	r := newRig(t, 0, under(t, guard.None))
	const stubs = 60
	for range stubs {
		x, regs := r.program(callForever)
		r.run(x, regs)
		unix.Kill(x.PID(), unix.SIGKILL)
		var err error
		for err == nil {
			r.page(x, dataAt, arch.Read)
			_, err = r.vcpu.Run(x, regs)
		}
		if !errors.Is(err, ErrStubDead) || !strings.Contains(err.Error(), "SIGKILL") {
			t.Error(err)
		}
		x.Destroy()
	}
	if s := r.mon.Stats(); s.Refused != 0 || s.StubDeaths != stubs {
		t.Errorf("%d refused, %d deaths", s.Refused, s.StubDeaths)
	}
}

// closed says that the reaper is done with x, its pidfd closed.
func (r *rig) closed(x *MM) bool {
	x.mon.reaper.mu.Lock()
	defer x.mon.reaper.mu.Unlock()
	var st unix.Stat_t
	return x.mon.reaper.live[int32(x.proc.PIDFD)] == nil && unix.Fstat(x.proc.PIDFD, &st) != nil
}
