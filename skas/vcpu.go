package skas

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"goskas/arch"
	"goskas/internal/sys"
	"goskas/timer"

	"golang.org/x/sys/unix"
)

// VCPU is a host thread that runs guest tasks, one at a time, with a tick of
// its own. It must be used by one goroutine only, the one that made it.
type VCPU struct {
	mon   *Monitor
	id    int
	cpu   int // host CPU
	tick  *timer.Tick
	lease lease
	yield yield
	watch watch
	tid   int
	// ticker forwards ticks by itself, in mode ptrace; detach ends it.
	ticker *ticker
	detach func()
	// held is the mm whose stub this thread goes on to trace until Leave.
	held *MM
	// allowed is the thread's affinity from before, given back by Close.
	allowed unix.CPUSet
}

// NewVCPU turns the calling goroutine into vCPU number id: it stays on this
// host thread, which is pinned to one CPU. Stubs are pinned to the CPU of the
// vCPU that runs them, since a wake across CPUs costs ten times one on the
// spot. GOMAXPROCS is raised to the number of vCPUs and two, unless the
// environment sets it: with fewer, the runtime slows every wait for a stub down.
func (m *Monitor) NewVCPU(id int) (*VCPU, error) {
	n := int(m.vcpus.Add(1))
	if m.cpus > 0 && n > m.cpus {
		m.vcpus.Add(-1)
		return nil, fmt.Errorf("vCPU %d: there are %d, as many as were announced", id, m.cpus)
	}
	raiseProcs(n)
	v := &VCPU{mon: m, id: id, tick: timer.NewTick(timer.Monotonic(), m.hz)}
	runtime.LockOSThread()
	err := unix.SchedGetaffinity(0, &v.allowed)
	if err == nil {
		v.cpu, err = pickCPU(&v.allowed, id)
	}
	if err == nil {
		err = sys.SetAffinity(0, v.cpu)
	}
	if err != nil {
		runtime.UnlockOSThread()
		m.vcpus.Add(-1)
		return nil, fmt.Errorf("pin vCPU %d: %w", id, err)
	}
	v.tid = unix.Gettid()
	v.detach = m.protocol.attend(v)
	m.watchdog.add(&v.watch)
	return v, nil
}

// Close gives the thread back as it was. The vCPU must not be used again.
func (v *VCPU) Close() {
	v.mon.watchdog.remove(&v.watch)
	v.detach()
	v.mon.vcpus.Add(-1)
	// If the thread cannot be given back it stays locked, and ends with
	// its goroutine.
	if unix.SchedSetaffinity(0, &v.allowed) == nil {
		runtime.UnlockOSThread()
	}
}

// pickCPU spreads vCPUs over the CPUs that this process may use, starting with
// the one that the kernel has just chosen for this thread, so that several
// monitors on a host do not all sit on the first.
func pickCPU(allowed *unix.CPUSet, id int) (int, error) {
	here, err := sys.CurrentCPU()
	if err != nil {
		return 0, err
	}
	var cpus []int
	start := 0
	for c := 0; len(cpus) < allowed.Count(); c++ {
		if !allowed.IsSet(c) {
			continue
		}
		if c == here {
			start = len(cpus)
		}
		cpus = append(cpus, c)
	}
	return cpus[(start+id)%len(cpus)], nil
}

// CPU is the host CPU that the vCPU is pinned to.
func (v *VCPU) CPU() int { return v.cpu }

// StartSlice gives the task that runs next a whole tick of its own, whatever is
// left of the last one's.
func (v *VCPU) StartSlice() { v.tick.Restart(hostNow()) }

// Leave says that the task that ran last does not run again for the moment; see
// Config.Leaves. The vCPU's goroutine calls it.
func (v *VCPU) Leave() {
	x := v.held
	if x == nil {
		return
	}
	v.held = nil
	x.turnstile.Lock()
	x.link.lend(v)
	x.turnstile.Unlock()
}

// Run runs the guest task with registers r on x until something happens, and
// says what. On the way in, changed page table entries become mapping calls
// that the stub makes before it resumes the guest.
//
// An error that is ErrStubDead concerns this mm alone.
func (v *VCPU) Run(x *MM, r *arch.Regs) (Event, error) {
	if v.held != x {
		v.Leave()
	}
	v.lease.renew()
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	if x.destroyed {
		return Event{}, ErrStubDead
	}
	if err := x.link.enter(x, v); err != nil {
		return Event{}, err
	}
	defer x.link.leave(v)
	if x.cpu != v.cpu {
		x.pin(v.cpu)
	}
	x.proof = true
	if err := x.table.Sync(x.queue); err != nil {
		return Event{}, x.lost(err)
	}
	if v.mon.guard.Sealed && x.table.WantsProof() {
		v.yield.giveWay(sys.Yield, hostNow)
	}
	x.load(r)
	if err := x.link.wake(x, v); err != nil {
		return Event{}, err
	}
	if x.proof && v.mon.guard.Sealed {
		x.table.Proved()
	}
	err := x.link.wait(x, v)
	v.watch.mm.Store(nil)
	if err != nil {
		return Event{}, err
	}
	ev, err := v.stopped(x, r)
	v.lease.now = hostNow()
	if err == nil && v.tick.Expired(v.lease.now) > 0 {
		ev.Late = true
	}
	return ev, err
}

// load gives r to the stub, which is about to return to the guest with it.
func (x *MM) load(r *arch.Regs) {
	x.link.resume(r)
	if x.owner != r {
		if x.owner != nil {
			x.saveOwner()
		}
		x.link.storeX(r.X)
		x.mon.stats.switches.Add(1)
	}
}

// stopped turns the stub's report into an event and r's new state.
func (v *VCPU) stopped(x *MM, r *arch.Regs) (Event, error) {
	if err := x.take(); err != nil {
		return Event{}, err
	}
	rep := &x.report
	if err := x.queue.Done(rep.at, rep.err); err != nil {
		return Event{}, x.refuse("%v", err)
	}
	x.owner = r
	x.noteProgress(rep.same)
	if rep.same {
		v.mon.stats.events[Tick].Add(1)
		return Event{Kind: Tick, Signo: int(unix.SIGALRM)}, nil
	}
	a := v.mon.arch
	x.link.registers(rep, r)
	le := binary.LittleEndian
	e := Event{Signo: int(rep.signal), Code: rep.code()}
	switch sig := rep.signal; {
	case sig == unix.SIGSYS && e.Code == sysSeccomp:
		e.Kind = Syscall
		e.NR, e.Args = a.Syscall(r)
		e.AuditArch = le.Uint32(rep.info[offSISysArch:])
	case rep.fault():
		e.Kind = PageFault
		e.Fault = a.FrameFault(rep.mctx)
	case sig == unix.SIGALRM:
		e.Kind = Tick
	case sig == unix.SIGTRAP || sig == unix.SIGILL || sig == unix.SIGFPE || sig == unix.SIGBUS ||
		sig == unix.SIGSEGV || sig == unix.SIGSYS:
		// The last two: sent by somebody on the host.
		e.Kind = Trap
		e.Addr = arch.Addr(le.Uint64(rep.info[offSIAddr:]))
		if e.Code > 0 {
			e.Fault = a.FrameFault(rep.mctx)
		}
	default:
		return Event{}, x.refuse("signal %d reported, which has no handler in the stub", rep.signal)
	}
	v.mon.stats.events[e.Kind].Add(1)
	return e, nil
}
