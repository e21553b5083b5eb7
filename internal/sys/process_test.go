package sys

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelSleeps(t *testing.T) {
	c := exec.Command("sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	pid := c.Process.Pid
	until := func(want bool) {
		t.Helper()
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			sleeps, blocked, err := Sleeps(pid)
			if err != nil || blocked != 0 {
				t.Fatalf("blocks %#x, %v", blocked, err)
			}
			if sleeps == want {
				return
			}
			if time.Since(start) > 20*time.Second {
				t.Fatalf("sleeps: %t", sleeps)
			}
		}
	}
	until(true)
	unix.Kill(pid, unix.SIGSTOP)
	until(false)
	unix.Kill(pid, unix.SIGCONT)
	until(true)
	if n := testing.AllocsPerRun(20, func() { Sleeps(pid) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, _, err := Sleeps(1 << 30); err != unix.ENOENT {
		t.Errorf("no process: %v", err)
	}
}

func TestKernelExiting(t *testing.T) {
	c := exec.Command("sleep", "100")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	if Exiting(pid) {
		t.Error("exiting while it sleeps")
	}
	c.Process.Kill()
	for start := time.Now(); !Exiting(pid); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("not exiting when killed")
		}
	}
	c.Wait()
	if Exiting(pid) {
		t.Error("exiting when gone")
	}
}
