package skas

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/probe"
	"goskas/internal/testkit"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// ptraceMode makes a rig's stubs traced ones. cpus is Config.CPUs.
func ptraceMode(t testing.TB, cpus int) func(*Config) {
	testkit.Need(t, probe.PtraceSysemu)
	return func(c *Config) { c.Mode, c.Guard, c.CPUs = ModePtrace, guard.Guard{}, cpus }
}

func TestKernelTracedRefusesGuardsAndPolicies(t *testing.T) {
	r := newRig(t, 0)
	for name, set := range map[string]func(*Config){
		"guard": func(c *Config) { c.Guard = guard.Sealed },
		"stall": func(c *Config) { c.Stall = StallCPU },
	} {
		c := Config{Memory: r.mem, Arch: r.arch, Mode: ModePtrace}
		set(&c)
		if m, err := New(c); err == nil {
			m.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// Tasks with all their registers full move from one vCPU to another, over system
// calls and ticks, and lose nothing.
func TestKernelTracedStubMovesBetweenThreads(t *testing.T) {
	r := newRig(t, 1000, ptraceMode(t, 0))
	x, base := r.program(xProgram)
	tasks := []*xTask{r.xTask(x, base, 0x30000, 2), r.xTask(x, base, 0x40000, 3)}
	type turn struct {
		ev  Event
		err error
	}
	second, turns := make(chan *arch.Regs), make(chan turn)
	var wg sync.WaitGroup
	wg.Go(func() {
		v, err := r.mon.NewVCPU(1)
		if err != nil {
			t.Error(err)
			return
		}
		defer v.Close()
		for regs := range second {
			ev, err := v.Run(x, regs)
			turns <- turn{ev, err}
		}
	})
	calls := make([]int, len(tasks))
	for i := range 400 {
		n := i / 2 % len(tasks)
		var got turn
		if i%2 == 0 {
			second <- tasks[n].regs
			got = <-turns
		} else {
			got.ev, got.err = r.vcpu.Run(x, tasks[n].regs)
		}
		switch {
		case got.err != nil || got.ev.Kind != Syscall && got.ev.Kind != Tick:
			t.Fatalf("%+v, %v", got.ev, got.err)
		case got.ev.Kind == Syscall:
			if calls[n]++; calls[n] > 1 {
				tasks[n].check(t)
			}
		}
	}
	close(second)
	wg.Wait()
	if min(calls[0], calls[1]) < 20 {
		t.Errorf("only %v calls", calls)
	}
}

// Two vCPUs that keep a stub for as long as nobody else wants it share one.
func TestKernelTracedStubIsLent(t *testing.T) {
	r := newRig(t, 1000, ptraceMode(t, 0), func(c *Config) { c.Leaves = true })
	x, base := r.program(xProgram)
	tasks := []*xTask{r.xTask(x, base, 0x30000, 2), r.xTask(x, base, 0x40000, 3)}
	other, otherRegs := r.program(spin)
	loop := func(v *VCPU, task *xTask) error {
		defer v.Leave()
		for calls := 0; calls < 100; {
			ev, err := v.Run(x, task.regs)
			switch {
			case err != nil || ev.Kind != Syscall && ev.Kind != Tick:
				return fmt.Errorf("%+v: %w", ev, err)
			case ev.Kind == Syscall:
				calls++
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		v, err := r.mon.NewVCPU(1)
		if err != nil {
			t.Error(err)
			return
		}
		defer v.Close()
		if err := loop(v, tasks[1]); err != nil {
			t.Error(err)
		}
		// To run another mm is to turn from this one.
		if _, err := v.Run(x, tasks[1].regs); err != nil {
			t.Error(err)
		}
		if _, err := v.Run(other, otherRegs); err != nil {
			t.Error(err)
		}
		x.turnstile.Lock()
		defer x.turnstile.Unlock()
		if x.link.(*tracedLink).tracer == v.tid {
			t.Error("still traced")
		}
	})
	if err := loop(r.vcpu, tasks[0]); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for _, task := range tasks {
		task.check(t)
	}
}

// The only vCPU keeps its stubs traced, and lets them go when it is closed.
func TestKernelTracedIsLetGo(t *testing.T) {
	r := newRig(t, 0, ptraceMode(t, 1))
	x, regs := r.program(callForever)
	traced := func() bool {
		t.Helper()
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return !bytes.Contains(status, []byte("TracerPid:\t0\n"))
	}
	r.run(x, regs)
	if _, err := r.mon.NewVCPU(1); err == nil {
		t.Error("a second vCPU, of one")
	}
	if who := x.link.(*tracedLink).tracer; who != r.vcpu.tid || !traced() {
		t.Errorf("tracer %d (%t), vCPU's thread %d", who, traced(), r.vcpu.tid)
	}
	r.vcpu.Close()
	if traced() {
		t.Error("still traced")
	}
	v, err := r.mon.NewVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if ev, err := v.Run(x, regs); err != nil || ev.Kind != Syscall {
		t.Errorf("%+v, %v", ev, err)
	}
}

// A tick always stops guest code, which has no way to block its signal; guest code
// that jumps into the stub's code makes no system call either.
func TestKernelTracedTicks(t *testing.T) {
	for _, cpus := range []int{0, 1} {
		r := newRig(t, 1000, ptraceMode(t, cpus))
		x, regs := r.program(spin)
		for range 50 {
			if ev := r.run(x, regs); ev.Kind != Tick {
				t.Fatalf("%+v", ev)
			}
		}
		stay, ok := x.link.(*tracedLink).stub.Label("stay")
		if !ok {
			t.Fatal("no label")
		}
		r.arch.SetPC(regs, r.mon.Layout().Code+arch.Addr(stay))
		for {
			ev := r.run(x, regs)
			if ev.Kind == Tick {
				continue
			}
			if ev.Kind != Syscall || ev.NR != unix.SYS_GETPID {
				t.Errorf("%+v", ev)
			}
			break
		}
	}
}

// Guest code that writes a batch and jumps to the code that runs it makes a system
// call like any other; the host's memory is not concerned.
func TestKernelTracedBatchCode(t *testing.T) {
	r := newRig(t, 0, ptraceMode(t, 1))
	data := r.mon.Layout().Data
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(int64(data)))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffLen), asm.Imm(1))
		a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffEntries+stubabi.OffEntryKind), asm.Imm(int64(stubabi.Munmap)))
		a.Mov(8, asm.RAX, asm.Imm(int64(data)))
		a.Mov(8, asm.Ptr(asm.RBX, stubabi.OffEntries+stubabi.OffEntryAddr), asm.RAX)
		a.JmpTo(asm.RBP)
	})
	run := r.mon.Layout().Code + arch.Addr(x.link.(*tracedLink).stub.Batch)
	*amd64.Register(regs, asm.RBP) = uint64(run)
	ev := r.run(x, regs)
	if ev.Kind != Syscall || ev.NR != unix.SYS_MUNMAP || ev.Args[0] != uint64(data) {
		t.Errorf("%+v", ev)
	}
	r.arch.SetResult(regs, 0)
	if ev = r.run(x, regs); ev.Kind != Trap || ev.Signo != int(unix.SIGTRAP) {
		t.Errorf("behind the batch: %+v", ev)
	}
}

// A stub that dies while guest code runs, between turns, or in a batch ends its
// mm and nothing else.
func TestKernelTracedDeath(t *testing.T) {
	for _, cpus := range []int{0, 1} {
		r := newRig(t, 100, ptraceMode(t, cpus))
		dead := func(what string, x *MM, regs *arch.Regs) {
			t.Helper()
			for {
				ev, err := r.vcpu.Run(x, regs)
				if errors.Is(err, ErrStubDead) {
					return
				}
				if err != nil || ev.Kind != Tick {
					t.Fatalf("%s: %+v, %v", what, ev, err)
				}
			}
		}
		x, regs := r.program(spin)
		pid := x.PID()
		time.AfterFunc(50*time.Millisecond, func() { unix.Kill(pid, unix.SIGKILL) })
		dead("running", x, regs)

		x, regs = r.program(spin)
		r.run(x, regs)
		unix.Kill(x.PID(), unix.SIGTERM) // the default action of what the host sends
		dead("between turns", x, regs)

		x, regs = r.program(spin)
		r.run(x, regs)
		unix.Kill(x.PID(), unix.SIGKILL)
		if err := x.Flush(); err != nil && !errors.Is(err, ErrStubDead) {
			t.Errorf("flush: %v", err)
		}
		dead("in a batch", x, regs)
	}
}

// A thread that waits to trace a stub does not wait for ever if the stub dies
// while its tracer is elsewhere.
func TestKernelTracedDeathEndsTheWaitForIt(t *testing.T) {
	r := newRig(t, 100, ptraceMode(t, 0), func(c *Config) { c.Leaves = true })
	x, regs := r.program(spin)
	r.run(x, regs)
	flushed := make(chan error)
	go func() { flushed <- x.Flush() }()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		x.turnstile.Lock()
		waits = x.link.(*tracedLink).wanted > 0
		x.turnstile.Unlock()
	}
	unix.Kill(x.PID(), unix.SIGKILL)
	select {
	case err := <-flushed:
		if !errors.Is(err, ErrStubDead) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still waits")
	}
}

// A vCPU in the hands of another goroutine's thread would trace nothing.
func TestKernelTracedRunsOnItsThread(t *testing.T) {
	r := newRig(t, 100, ptraceMode(t, 1))
	x, regs := r.program(spin)
	wrong := make(chan error)
	go func() {
		runtime.LockOSThread() // not the rig's thread: that is locked, too
		_, err := r.vcpu.Run(x, regs)
		wrong <- err
	}()
	if err := <-wrong; err == nil || errors.Is(err, ErrStubDead) {
		t.Errorf("another thread: %v", err)
	}
	r.run(x, regs)
}

// A signal frame that does not fit, since guest code has the stack pointer at the
// bottom of the stub's own signal stack, costs the stub its life.
func TestKernelTracedNoRoomForTheFrame(t *testing.T) {
	r := newRig(t, 0, ptraceMode(t, 1))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
	})
	r.arch.SetSP(regs, r.mon.Layout().Data+arch.PageSize+64)
	if ev, err := r.vcpu.Run(x, regs); !errors.Is(err, ErrStubDead) {
		t.Errorf("%+v, %v", ev, err)
	}
}

// Somebody on the host stops and continues the stub, while it runs and between
// turns: it goes on, without a step of its own between turns.
func TestKernelTracedFrozenStubGoesOn(t *testing.T) {
	for _, cpus := range []int{0, 1} {
		r := newRig(t, 100, ptraceMode(t, cpus))
		x, base := r.program(xProgram)
		task := r.xTask(x, base, 0x30000, 2)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT} {
					unix.Kill(x.PID(), sig)
					select {
					case <-stop:
						unix.Kill(x.PID(), unix.SIGCONT)
						return
					case <-time.After(3 * time.Millisecond):
					}
				}
			}
		})
		calls := 0
		for start := time.Now(); time.Since(start) < 500*time.Millisecond || calls < 20; {
			if ev := r.run(x, task.regs); ev.Kind == Syscall {
				if calls++; calls > 1 {
					task.check(t)
				}
			} else if ev.Kind != Tick {
				t.Fatalf("%+v", ev)
			}
		}
		close(stop)
		wg.Wait()
	}
}
