package guest

import (
	"errors"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/skas"
)

// vcpu runs guest tasks, one at a time, until the machine stops. skas pins the
// goroutine to its thread.
func (k *Kernel) vcpu(id int) error {
	v, err := k.mon.NewVCPU(id)
	if err != nil {
		return err
	}
	defer v.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	start := k.now()
	defer func() { k.stats.vcpuTime += k.now() - start }()
	for {
		t := k.nextTask(id)
		if t == nil {
			return nil
		}
		k.runTask(v, t)
	}
}

// runTask runs t until it blocks, stops, ends, or has had its turn.
func (k *Kernel) runTask(v *skas.VCPU, t *Task) {
	t.kernelSince = k.now()
	v.StartSlice()
	defer v.Leave()
	for !k.stopping && t.state == taskRunning {
		if t.call.active && t.call.restart == 0 {
			// Woken in the middle of a system call.
			k.attempt(t)
			if t.state != taskRunning {
				return
			}
		}
		if t.deliverable() != 0 || t.call.active || t.haveSaved {
			k.deliverSignals(t)
			continue
		}
		if t.yield {
			t.yield = false
			if k.runHead != nil {
				t.nivcsw++
				k.enqueue(t)
				return
			}
		}
		k.enterGuest(v, t)
	}
	if k.stopping && t.state == taskRunning {
		k.enqueue(t) // halt takes it from there
	}
}

// enterGuest runs guest code to its next event and handles that.
func (k *Kernel) enterGuest(v *skas.VCPU, t *Task) {
	host := t.space.host()
	t.account()
	in := t.kernelSince
	k.mu.Unlock()
	ev, err := v.Run(host, &t.regs)
	k.mu.Lock()
	t.kernelSince = k.now()
	t.utime += t.kernelSince - in
	k.stats.guestTime += t.kernelSince - in
	if len(t.cpuTimers) > 0 {
		t.runCPUTimers()
	}

	if err != nil {
		k.runFailed(t, err)
		return
	}
	if ev.Late {
		k.stats.Ticks++
		k.runTimers()
		t.yield = true
	}
	switch ev.Kind {
	case skas.Syscall:
		k.syscall(t, &ev)
	case skas.PageFault:
		k.stats.PageFaults++
		t.minflt++
		sig, code, err := t.space.fault(ev.Fault)
		if err != nil {
			k.log.Warn("guest process killed", "reason", err, "pid", t.pid, "comm", t.comm)
		}
		if sig != 0 {
			t.forceFault(faultSignal(sig, code, ev.Fault.Addr), ev.Fault)
		}
	case skas.Tick:
		k.stats.Ticks++
		k.runTimers()
		t.yield = true
	case skas.Trap:
		k.stats.Traps++
		t.forceFault(faultSignal(ev.Signo, ev.Code, ev.Addr), ev.Fault)
	default:
		k.log.Error("unknown event", "kind", ev.Kind, "pid", t.pid)
		t.kill(unix.SIGKILL)
	}
}

// syscall starts the system call that ev reports. A call made for another
// architecture (int 0x80 in a 64-bit program) does not exist here.
func (k *Kernel) syscall(t *Task, ev *skas.Event) {
	nr := ev.NR
	if ev.AuditArch != k.arch.AuditArch() {
		nr = ^uint64(0)
	}
	k.beginCall(t, nr, ev.Args)
	k.attempt(t)
}

// runFailed handles a stub that is no more: every task with its memory gets
// SIGSEGV, as under UML, and cannot catch it; the machine goes on. Any other
// error is the monitor's and ends the machine.
func (k *Kernel) runFailed(t *Task, err error) {
	if !errors.Is(err, skas.ErrStubDead) {
		if k.failure == nil {
			k.failure = err
		}
		k.shutdown()
		return
	}
	k.stats.StubDeaths++
	k.log.Warn("stub died", "pid", t.pid, "comm", t.comm, "err", err)
	for _, other := range k.tasks {
		if other.space == t.space {
			other.kill(unix.SIGSEGV)
		}
	}
}

// forceFault sends the signal of an exception to the task that caused it. The
// address of a page fault stays until the next one, as in Linux.
func (t *Task) forceFault(in sigInfo, f arch.Fault) {
	if in.no == int(unix.SIGKILL) {
		t.kill(unix.SIGKILL)
		return
	}
	if in.code > 0 { // not sent by somebody on the host
		if !f.Page {
			f.Addr = t.trap.Addr
		}
		t.trap = f
	}
	t.force(in)
}
