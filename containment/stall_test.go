package containment

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/sys"
	"goskas/internal/testkit"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// onStage runs f where a vCPU may be made.
func onStage(t *testing.T, set setting, build func(setting) (*stage, error), f func(s *stage)) {
	t.Helper()
	testkit.Need(t, set.guard.Needs...)
	err := staged(set, build, func(s *stage) error { f(s); return nil })
	if err != nil {
		t.Error(err)
	}
}

// staged is onStage with an error.
func staged(set setting, build func(setting) (*stage, error), f func(s *stage) error) error {
	done := make(chan error)
	go func() {
		s, err := build(set)
		if err == nil {
			err = errors.Join(f(s), s.close())
		}
		done <- err
	}()
	return <-done
}

// A stub that has blocked SIGALRM by a crafted rt_sigreturn dies within two
// ticks of its own CPU time, under each policy.
func TestKernelBlockedTickDies(t *testing.T) {
	testkit.NoLeaks(t)
	const hz = 100
	for _, name := range []string{"block-tick-spin", "block-tick-call"} {
		c := find(t, name)
		for _, stall := range []skas.Stall{skas.StallCPU, skas.StallTick, skas.StallWatchdog} {
			t.Run(name+"/"+stall.String(), func(t *testing.T) {
				// Two ticks behind the one that it did not report, some looks,
				// and what a kill takes on a busy host. What a hypervisor takes
				// counts as the stub's, so once in three times is enough.
				const limit = 8 * time.Second / hz
				var used time.Duration
				for range 3 {
					if used = blockedTick(t, c, setting{guard: guard.Validate, stall: stall, hz: hz}); used <= limit {
						return
					}
				}
				t.Errorf("it used %v", used)
			})
		}
	}
}

// blockedTick has a case die for its stall, and says how much CPU time it used.
func blockedTick(t *testing.T, c *Case, set setting) (used time.Duration) {
	t.Helper()
	onStage(t, set, newStage, func(s *stage) {
		if err := s.plant(); err != nil {
			t.Error(err)
			return
		}
		o, err := s.newOffender(c)
		if err != nil {
			t.Error(err)
			return
		}
		quit := make(chan struct{})
		seen := make(chan struct{})
		go func() { // its CPU time, for as long as it lives
			defer close(seen)
			for {
				if cpu, err := sys.ProcessCPU(o.mm.PID()); err == nil {
					used = max(used, cpu)
				}
				select {
				case <-quit:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		start, _ := sys.ProcessCPU(o.mm.PID())
		err = o.run(c, s.vcpu)
		close(quit)
		<-seen
		used -= start
		if err != nil || o.dead == nil || len(s.breaches) > 0 {
			t.Errorf("%v: %s, %q", err, o.story(), s.breaches)
		}
	})
	return used
}

func find(t *testing.T, name string) *Case {
	t.Helper()
	for _, c := range Cases() {
		if c.Name == name {
			return &c
		}
	}
	t.Fatalf("no case %s", name)
	return nil
}

// On a host with many busy processes, and when its stub is stopped from outside
// for a while, an innocent process loses its life under policy tick, and never
// under policy cpu.
func TestKernelBusyHostKillsNoInnocent(t *testing.T) {
	testkit.NoLeaks(t)
	for range 6 * runtime.NumCPU() {
		c := exec.Command("sh", "-c", "while :; do :; done")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			c.Process.Kill()
			c.Wait()
		}()
	}
	for _, g := range []guard.Guard{guard.Validate, guard.Sealed} {
		for _, stall := range []skas.Stall{skas.StallCPU, skas.StallTick} {
			t.Run(fmt.Sprintf("%v/%v", g, stall), func(t *testing.T) {
				onStage(t, setting{guard: g, stall: stall, hz: 100}, newWorld, func(s *stage) {
					err := s.compute(2*time.Second, 1500*time.Millisecond)
					if died := err != nil; died != (stall == skas.StallTick) {
						t.Errorf("the innocent's end: %v", err)
					}
				})
			})
		}
	}
}

// compute has an innocent process compute for some time of the host's, during
// which its stub is stopped for a while.
func (s *stage) compute(d, stopped time.Duration) error {
	x, _, err := s.newMM()
	if err != nil {
		return err
	}
	defer x.Destroy()
	a := asm.New(uint64(textAt))
	a.Label("loop")
	a.Inc(8, asm.R12)
	a.Jmp("loop")
	text, err := a.Assemble()
	if err != nil {
		return err
	}
	pfn, err := s.page(x, textAt, arch.Read|arch.Exec)
	if err != nil {
		return err
	}
	copy(s.mem.Bytes(pfn), text)
	var r arch.Regs
	s.arch.Start(&r, textAt, stackTop)
	time.AfterFunc(100*time.Millisecond, func() {
		unix.Kill(x.PID(), unix.SIGSTOP)
		time.Sleep(stopped)
		unix.Kill(x.PID(), unix.SIGCONT)
	})
	for start := time.Now(); time.Since(start) < d; {
		if _, err := s.vcpu.Run(x, &r); err != nil {
			return err
		}
	}
	return nil
}
