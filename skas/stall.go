package skas

import (
	"fmt"
	"strings"
	"time"

	"goskas/arch"
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"
	"goskas/timer"

	"golang.org/x/sys/unix"
)

// Stall is what a monitor does about a stub that does not report a tick that
// was forwarded to it, because guest code blocks the signal or hangs the stub.
type Stall uint8

// The policies. The default is StallOff under guard none, as in UML, and
// StallCPU under all others.
const (
	StallDefault Stall = iota
	// StallCPU kills a stub that has used more than two ticks of its own CPU
	// time since the forward: a pending signal that is not blocked comes
	// before any further guest instruction.
	StallCPU
	// StallTick kills it at the next tick (the seeds' review: flag and
	// recheck). On a busy host that hits the innocent, too.
	StallTick
	// StallWatchdog has a thread look at every vCPU's forwards (the seeds'
	// patch 6).
	StallWatchdog
	// StallOff waits for ever.
	StallOff
)

var stallNames = [...]string{"default", "cpu", "tick", "watchdog", "off"}

func (s Stall) String() string { return stallNames[s] }

// Stalls lists the names that ParseStall takes.
func Stalls() []string { return stallNames[:] }

// ParseStall finds a policy by name.
func ParseStall(name string) (Stall, error) {
	for i, n := range stallNames {
		if n == name {
			return Stall(i), nil
		}
	}
	return 0, fmt.Errorf("no stall policy %q: give %s", name, strings.Join(stallNames[:], ", "))
}

// lookPeriod is how often a wait looks at its stub when no tick is due earlier.
const lookPeriod = 10 * time.Millisecond

func hostNow() time.Duration { return timer.Monotonic().Now() }

// forward is the tick that a running stub was sent and has not reported.
type forward struct {
	pending bool
	cpu     time.Duration // the stub's CPU time at that moment
	calls   int           // that the listener has answered since
	// A stub that has used too much is suspect: what it uses beyond cpuSeen, its
	// CPU time at the last look that counted, decides.
	overruns overruns
	cpuSeen  time.Duration
	// asleep is set if the last look found the stub asleep, with asleepAt of
	// CPU time.
	asleep   bool
	asleepAt time.Duration
}

// forwardAt is one to a stub that has used so much CPU time.
func forwardAt(cpu time.Duration) forward {
	return forward{pending: true, cpu: cpu, cpuSeen: cpu}
}

// nextLook is when a wait has to look at its stub, in the monotonic clock's
// time: at the vCPU's tick, if it waits for a vCPU, but soon at a suspect one.
func (x *MM) nextLook(v *VCPU) time.Duration {
	if x.forward.overruns > 0 {
		return hostNow() + 2*suspectLimit
	}
	if v != nil {
		if d := v.tick.Deadline(); d != timer.Never {
			return d
		}
	}
	return hostNow() + lookPeriod
}

// starved is the state of a stub whose last report was a tick that came before
// it was back in guest code.
type starved struct {
	is  bool
	cpu time.Duration // the stub's CPU time then
}

// starvedLimit is what such a stub gets before the next tick: on a host so busy
// that it waits longer for a CPU than a tick lasts it would get nowhere.
const starvedLimit = time.Millisecond

func (x *MM) noteProgress(same bool) {
	x.starved.is = same
	if same {
		x.starved.cpu = x.cpuTime()
	}
}

// look is called when a wait has been long: it answers what the stub asks
// through the listener, forwards a tick that is due and judges a stub that has
// not reported the last one.
func (x *MM) look(v *VCPU) error {
	if x.listener != nil {
		if err := x.listener.drain(x); err != nil {
			return err
		}
	}
	// Guest code without ticks may compute for as long as it likes; a batch
	// that the stub runs on its own may not.
	due := v == nil || v.tick.Expired(hostNow()) > 0
	f := &x.forward
	if !due && f.overruns == 0 {
		return nil
	}
	if f.pending {
		return x.judge(v)
	}
	cpu := x.cpuTime()
	if x.starved.is && cpu-x.starved.cpu < starvedLimit {
		return nil
	}
	*f = forwardAt(cpu)
	if v != nil {
		v.mon.stats.ticksForwarded.Add(1)
		v.watch.forwarded(x)
		x.signal(unix.SIGALRM)
	}
	return nil
}

// judge kills a stub that has not reported the tick forwarded to it, or, in a
// batch of its own, has not reported at all, if the policy takes that for
// proof of bad will.
func (x *MM) judge(v *VCPU) error {
	switch x.mon.stall {
	case StallTick:
		return x.stalled("a tick was not reported by the next one")
	case StallCPU:
		f, cpu := &x.forward, x.cpuTime()
		batch := x.queue.Entries()
		seen, limit := f.overruns, x.mon.stallLimit(batch)
		if seen > 0 {
			limit = suspectLimit + x.mon.allowance(batch)
		}
		if f.overruns.note(cpu-f.cpuSeen, limit) {
			return x.stalled("%v of CPU time used without reporting a tick", cpu-f.cpu)
		}
		if f.overruns > seen {
			f.cpuSeen = cpu
		}
		// In a batch signals are masked, and one more call may have been
		// under way.
		if f.calls > len(batch)+1 {
			return x.stalled("%d calls made without reporting a tick", f.calls)
		}
		// Sleep takes no CPU time. A stub that owes a report has nothing to
		// sleep for: what it asks the monitor for has just been answered.
		//
		// A sealed stub cannot: its one call that sleeps does so only while the
		// word says that it has reported. One that sleeps all the same is held by
		// a cgroup freezer, and no more to blame than a stopped one.
		asleep := !x.mon.guard.Sealed && x.asleep(v)
		if asleep && f.asleep && cpu == f.asleepAt {
			return x.stalled("asleep without reporting a tick")
		}
		f.asleep, f.asleepAt = asleep, cpu
	}
	return nil
}

// asleep reports whether the stub sleeps in a system call of its own choice.
// While guest code may run, that is so only if it has blocked the tick's signal:
// otherwise that wakes it, if not at once.
func (x *MM) asleep(v *VCPU) bool {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	if x.reaped {
		return false
	}
	sleeps, blocked, err := sys.Sleeps(x.proc.PID)
	return err == nil && sleeps && (v == nil || blocked&(1<<(unix.SIGALRM-1)) != 0)
}

// advanced notes that the stub gets on with its batch, in which signals are
// masked: what it does is judged anew.
func (x *MM) advanced() {
	if f := &x.forward; f.pending {
		*f = forwardAt(x.cpuTime())
	}
}

// stallLimit is the CPU time that a stub may use behind a forwarded tick before it
// is suspect: two ticks, if they are not too short to tell, and what the host kernel
// needs for the batch that goes first.
func (m *Monitor) stallLimit(batch []stubabi.Entry) time.Duration {
	const least = 20 * time.Millisecond
	return max(2*m.tickPeriod(), least) + m.allowance(batch)
}

// suspectLimit is what a suspect stub may use from one look to the next, and for its
// batch. On a virtual machine whose CPUs had to share those of its host, an honest
// stub was charged 64 ms behind a forward. But who looks is on the stub's CPU, which
// is back, then: an honest stub that gets it next needs microseconds to its report.
const suspectLimit = time.Millisecond

// allowance is CPU time for a batch.
func (m *Monitor) allowance(batch []stubabi.Entry) time.Duration {
	const (
		perCall = 100 * time.Microsecond // ten times what it takes on an idle host
		// 7 µs were seen where 6,000 pages went away at once, on a virtual
		// machine with six programs for each CPU.
		perPage = 20 * time.Microsecond
	)
	var pages uint64
	for _, e := range batch {
		pages += e.Length / arch.PageSize
	}
	// The host has no more of the guest's pages than there are frames.
	pages = min(pages, uint64(m.mem.Stats().Total))
	return time.Duration(len(batch))*perCall + time.Duration(pages)*perPage
}

// tickPeriod is a tick's length, or what stands for it without ticks.
func (m *Monitor) tickPeriod() time.Duration {
	if m.hz == 0 {
		return lookPeriod
	}
	return time.Second / time.Duration(m.hz)
}

func (x *MM) stalled(format string, args ...any) error {
	x.mon.stats.stalled.Add(1)
	return x.refuse(format, args...)
}

// cpuTime is how much CPU time the stub has used; a dead stub uses none.
func (x *MM) cpuTime() time.Duration {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	if x.reaped {
		return 0
	}
	t, err := sys.ProcessCPU(x.proc.PID)
	if err != nil {
		return 0
	}
	return t
}
