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
	mon  *Monitor
	id   int
	cpu  int // host CPU
	tick *timer.Tick
	// allowed is the thread's affinity from before, given back by Close.
	allowed unix.CPUSet

	// Scratch for the copies of a report.
	mctx [512]byte
	info [siginfoSize]byte
}

// NewVCPU turns the calling goroutine into vCPU number id: it stays on this
// host thread, which is pinned to one CPU. Stubs are pinned to the CPU of the
// vCPU that runs them, since a wake across CPUs costs ten times one on the
// spot.
func (m *Monitor) NewVCPU(id int) (*VCPU, error) {
	if m.arch.MContextSize() > len(VCPU{}.mctx) {
		panic("BUG: mcontext larger than the scratch buffer")
	}
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
		return nil, fmt.Errorf("pin vCPU %d: %w", id, err)
	}
	return v, nil
}

// Close gives the thread back as it was. The vCPU must not be used again.
func (v *VCPU) Close() {
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

// forwardTick passes an expired tick to the running stub, which will report it
// like any other event (UML's os_alarm_process).
func (v *VCPU) forwardTick(x *MM) {
	v.tick.Expired(timer.Monotonic().Now())
	v.mon.stats.ticksForwarded.Add(1)
	x.signal(unix.SIGALRM)
}

// Run runs the guest task with registers r on x until something happens, and
// says what. On the way in, changed page table entries become mapping calls
// that the stub makes before it resumes the guest.
//
// An error that is ErrStubDead concerns this mm alone.
func (v *VCPU) Run(x *MM, r *arch.Regs) (Event, error) {
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	if x.destroyed {
		return Event{}, ErrStubDead
	}
	if x.cpu != v.cpu {
		// Fails only if the stub is gone, which the wait will notice.
		_ = sys.SetAffinity(x.proc.PID, v.cpu)
		x.cpu = v.cpu
	}
	if err := x.table.Sync(x.queue); err != nil {
		return Event{}, x.refuse("%v", err)
	}
	x.load(r)
	if err := x.wake(); err != nil {
		return Event{}, err
	}
	if err := x.wait(v); err != nil {
		return Event{}, err
	}
	return v.stopped(x, r)
}

// load writes r into the frame that the stub is about to return through.
func (x *MM) load(r *arch.Regs) {
	a := x.mon.arch
	a.StoreFrame(x.stack[x.mctx:], r)
	if x.owner != r {
		if x.owner != nil {
			x.saveOwner()
		}
		a.StoreX(x.stack[x.x:], r.X)
		x.mon.stats.switches.Add(1)
	}
	if r.FSBase != x.fs {
		x.fs = r.FSBase
		x.data.FSBase = r.FSBase
		x.data.Sync |= syncFS
	}
	if r.GSBase != x.gs {
		x.gs = r.GSBase
		x.data.GSBase = r.GSBase
		x.data.Sync |= syncGS
	}
}

// stopped turns the stub's report into an event and r's new state.
func (v *VCPU) stopped(x *MM, r *arch.Regs) (Event, error) {
	rep, err := x.report()
	if err != nil {
		return Event{}, err
	}
	a := v.mon.arch
	if err := x.queue.Done(rep.Len, rep.Err); err != nil {
		return Event{}, x.refuse("%v", err)
	}
	mctx := v.mctx[:a.MContextSize()]
	copy(mctx, x.stack[x.mctx:])
	copy(v.info[:], x.stack[rep.SIOffset:])
	if err := x.locateX(mctx); err != nil {
		return Event{}, err
	}
	a.LoadFrame(mctx, r)
	x.owner = r
	le := binary.LittleEndian
	e := Event{Signo: int(rep.Signal), Code: int32(le.Uint32(v.info[offSICode:]))}
	switch sig := unix.Signal(rep.Signal); {
	case sig == unix.SIGSYS && e.Code == sysSeccomp:
		e.Kind = Syscall
		e.NR, e.Args = a.Syscall(r)
		e.AuditArch = le.Uint32(v.info[offSISysArch:])
	case sig == unix.SIGSEGV && e.Code > 0:
		e.Kind = PageFault
		e.Fault = a.FrameFault(mctx)
	case sig == unix.SIGALRM:
		e.Kind = Tick
	case sig == unix.SIGTRAP || sig == unix.SIGILL || sig == unix.SIGFPE ||
		sig == unix.SIGSEGV || sig == unix.SIGSYS:
		// The last two: sent by somebody on the host.
		e.Kind = Trap
		e.Addr = arch.Addr(le.Uint64(v.info[offSIAddr:]))
	default:
		return Event{}, x.refuse("signal %d reported, which has no handler in the stub", rep.Signal)
	}
	v.mon.stats.events[e.Kind].Add(1)
	return e, nil
}
