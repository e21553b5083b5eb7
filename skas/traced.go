package skas

import (
	"fmt"
	"sync"

	"goskas/arch"
	"goskas/internal/sys"
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// tracing is the protocol of UML's ptrace mode. The stub's pages are as in the
// seccomp mode; guest memory is the one descriptor that it keeps.
//
// Only the thread that traces a stub may ask anything of it, and a thread stays
// a stub's tracer until it lets it go by itself. UML has one thread in this mode.
// Here a single vCPU keeps what it has traced. Where there may be several, a stub
// is taken at the beginning of each turn and left at its end, or when its tracer
// turns from the task (Config.Leaves), or has had its turn and another thread
// waits. A stub that nobody traces is stopped as by SIGSTOP; should anybody
// continue it, it stops itself again.
type tracing struct {
	posted
	keep   bool // there is one vCPU
	leaves bool // Config.Leaves
	// batch and stay are the registers that run a batch, and that stop.
	batch, stay []byte

	mu      sync.Mutex
	tickers map[*ticker]struct{}
}

func newTracing(mem *physmem.Memory, a arch.Arch, keep, leaves bool) (*tracing, error) {
	t := &tracing{posted: posted{mem: mem, arch: a}, keep: keep, leaves: leaves, tickers: make(map[*ticker]struct{})}
	var err error
	if t.lay, err = Layout(a); err != nil {
		return nil, err
	}
	if t.stub, err = a.Traced(t.lay); err != nil {
		return nil, err
	}
	t.batch, t.stay = t.at(t.stub.Batch), t.at(t.stub.Stay)
	return t, t.build(nil)
}

// at is a register set that enters the stub's code at an offset. The code needs
// no stack.
func (t *tracing) at(offset uint64) []byte {
	var r arch.Regs
	t.arch.Start(&r, t.lay.Code+arch.Addr(offset), t.lay.Data)
	user := make([]byte, t.arch.TracedSize())
	t.arch.StoreTraced(user, &r)
	return user
}

func (t *tracing) attend(v *VCPU) func() {
	v.ticker = newTicker(v.mon)
	t.mu.Lock()
	t.tickers[v.ticker] = struct{}{}
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		delete(t.tickers, v.ticker)
		t.mu.Unlock()
		v.ticker.close()
		for _, x := range v.mon.live() {
			x.turnstile.Lock()
			if l := x.link.(*tracedLink); !x.destroyed && l.tracer == v.tid {
				l.release()
			}
			x.turnstile.Unlock()
		}
	}
}

func (t *tracing) close() error {
	for k := range t.tickers { // of vCPUs that were not closed
		k.close()
	}
	return t.posted.close()
}

func (t *tracing) open(m *Monitor) (link, launch, error) {
	pages, orders, err := t.pages(false)
	if err != nil {
		return nil, nil, err
	}
	return &tracedLink{
		stubPages: pages, tracing: t, gone: make(chan struct{}),
		user: make([]byte, t.arch.TracedSize()), x: make([]byte, t.arch.XSize()),
	}, m.spawn.launch(t.exe, orders), nil
}

// tracedLink is the monitor's side of a traced stub.
type tracedLink struct {
	stubPages
	tracing *tracing
	mm      *MM
	pid     int
	gone    chan struct{} // closed once the stub has died

	tracer int  // the thread that traces the stub, 0 if none does
	stop   int  // how it stopped last, see sys.WaitStopped
	kept   bool // the tracer goes on to trace it between its turns
	// wanted is how many threads wait for the tracer to let go, which closes
	// free. Both belong to the turnstile, as all of this does.
	wanted int
	free   chan struct{}

	user []byte // the task's registers
	// x is the task's extended state, if it is current; the stub gets it
	// before the task runs again if it is fresh.
	x              []byte
	current, fresh bool
}

func (l *tracedLink) died() { close(l.gone) }

// start waits for the stub to stop itself. Nobody traces it yet: all that it has
// run is its start-up program.
func (l *tracedLink) start(x *MM) error {
	l.mm, l.pid = x, x.proc.PID
	l.free = make(chan struct{})
	for {
		stop, err := sys.WaitStopped(l.pid)
		if err != nil {
			return l.lost("wait for it to start", err)
		}
		if stop == int(unix.SIGSTOP) {
			return nil
		}
	}
}

// lost says why a request failed: the stub is gone, or will be.
func (l *tracedLink) lost(what string, err error) error {
	if err == unix.ESRCH || err == unix.ECHILD {
		l.mm.kill() // if it is not dying
		<-l.gone
		return l.mm.deathError()
	}
	return l.mm.refuse("%s: %v", what, err)
}

func (l *tracedLink) wake(x *MM, v *VCPU) error {
	x.wakes++
	x.mon.stats.wakes.Add(1)
	if len(x.queue.Entries()) > 0 {
		at, errno, err := l.run(x)
		if err != nil {
			return err
		}
		if err := x.queue.Done(at, errno); err != nil {
			return x.refuse("%v", err)
		}
	}
	if l.fresh {
		if err := sys.PtraceSetRegset(l.pid, l.arch.TracedX(), l.x); err != nil {
			return l.lost("set extended state", err)
		}
		l.fresh = false
	}
	if err := sys.PtraceSetRegs(l.pid, l.user); err != nil {
		return l.lost("set registers", err)
	}
	l.current = false
	v.ticker.arm(x, v.tick.Deadline())
	if err := sys.PtraceSysemu(l.pid, 0); err != nil {
		v.ticker.disarm()
		return l.lost("let it run", err)
	}
	return nil
}

// syscallStop is a stop at a system call (PTRACE_O_TRACESYSGOOD).
const syscallStop = int(unix.SIGTRAP) | 0x80

func (l *tracedLink) wait(x *MM, v *VCPU) error {
	defer v.ticker.disarm()
	for {
		stop, err := sys.WaitStopped(l.pid)
		if err != nil {
			return l.lost("wait for it to stop", err)
		}
		switch sig := unix.Signal(stop); {
		case sig == unix.SIGALRM:
			v.tick.Expired(hostNow()) // this is it
			fallthrough
		case stop == syscallStop, sig == unix.SIGSEGV, sig == unix.SIGTRAP, sig == unix.SIGILL, sig == unix.SIGFPE, sig == unix.SIGBUS:
			l.stop = stop
			return nil
		case stop>>8 == ptraceEventStop && stop&0x7f != int(unix.SIGTRAP):
			err = sys.PtraceListen(l.pid)
		default:
			err = sys.PtraceSysemu(l.pid, passed(stop))
		}
		if err != nil {
			return l.lost("go on", err)
		}
	}
}

// trapped lets stub code run, with a signal if there is one, until it traps
// (UML's wait_stub_done).
func (l *tracedLink) trapped(sig unix.Signal) error {
	for {
		if err := sys.PtraceCont(l.pid, sig); err != nil {
			return l.lost("run stub code", err)
		}
		stop, err := sys.WaitStopped(l.pid)
		switch {
		case err != nil:
			return l.lost("wait for stub code", err)
		case stop == int(unix.SIGTRAP):
			return nil
		case stop == int(unix.SIGSEGV), stop == int(unix.SIGBUS), stop == int(unix.SIGILL):
			return l.mm.refuse("signal %d in stub code", stop)
		}
		// A tick is dropped: the vCPU sees that it was due.
		sig = passed(stop)
	}
}

// run has the stub run the batch.
func (l *tracedLink) run(x *MM) (at int32, errno int64, err error) {
	d := l.data
	d.Len = int32(copy(d.Entries[:], x.queue.Entries()))
	d.Err = 0
	if err := sys.PtraceSetRegs(l.pid, l.tracing.batch); err != nil {
		return 0, 0, l.lost("set registers", err)
	}
	if err := l.trapped(0); err != nil {
		return 0, 0, err
	}
	r := d.Report()
	return r.Len, r.Err, nil
}

func (l *tracedLink) batch(x *MM) (err error) {
	x.wakes++
	x.mon.stats.wakes.Add(1)
	x.report.at, x.report.err, err = l.run(x)
	return err
}

func (l *tracedLink) take(r *report) error {
	*r = report{mctx: r.mctx}
	if err := sys.PtraceGetRegs(l.pid, l.user); err != nil {
		return fmt.Errorf("get registers: %w", err)
	}
	if l.stop == syscallStop {
		a, err := sys.PtraceSyscallArch(l.pid)
		if err != nil {
			return fmt.Errorf("get the system call's architecture: %w", err)
		}
		r.call(a)
		return nil
	}
	r.signal = unix.Signal(l.stop)
	if err := sys.PtraceSiginfo(l.pid, r.info[:]); err != nil {
		return fmt.Errorf("get siginfo: %w", err)
	}
	if r.signal != unix.SIGALRM && r.code() > 0 {
		return l.raised(r)
	}
	return nil
}

// raised lets the stub's handler have the signal: the kernel tells a handler more
// about what the CPU raises than a tracer.
func (l *tracedLink) raised(r *report) error {
	l.data.Signal = 0
	if err := l.trapped(r.signal); err != nil {
		return err
	}
	d := l.data.Report()
	if d.Signal != int32(r.signal) {
		return fmt.Errorf("signal %d reported by the handler of signal %d", d.Signal, r.signal)
	}
	_, x, err := l.frame(d, r)
	if err != nil {
		return err
	}
	// Handlers start with the initial state; the task's is in the frame.
	l.arch.LoadX(l.x, l.stack[x:])
	l.current, l.fresh = true, true
	return nil
}

func (l *tracedLink) registers(_ *report, r *arch.Regs) {
	l.arch.LoadTraced(l.user, l.stop == syscallStop, r)
}

func (l *tracedLink) resume(r *arch.Regs) { l.arch.StoreTraced(l.user, r) }

// loadX fails only if the stub is gone: then nobody needs the state.
func (l *tracedLink) loadX(x []byte) {
	if !l.current {
		l.current = sys.PtraceGetRegset(l.pid, l.arch.TracedX(), l.x) == nil
	}
	l.arch.LoadX(x, l.x)
}

func (l *tracedLink) storeX(x []byte) {
	l.arch.StoreX(l.x, x)
	l.current, l.fresh = true, true
}
