package skas

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"goskas/arch"
	"goskas/internal/sys"
	"goskas/mm"
	"goskas/stubexe"
	"goskas/stubexe/stubabi"
	"goskas/syscallq"

	"golang.org/x/sys/unix"
)

// ErrStubDead says that an mm has lost its stub, or had it killed for a report
// that makes no sense: its tasks cannot go on. Other mms are not concerned.
var ErrStubDead = errors.New("stub is dead")

// MM is a guest address space: a page table, and the stub that holds its
// mappings on the host.
type MM struct {
	mon   *Monitor
	table *mm.Table

	// turnstile is held by whoever operates the stub: while guest code
	// runs, and for every change of the queue. All fields up to the next
	// blank line belong to it.
	turnstile sync.Mutex
	queue     *syscallq.Queue
	link      link
	listener  *listener // nil unless the guard has calls routed to it
	report    report    // scratch for the last one
	forward   forward
	starved   starved
	wakes     uint64 // how often the stub was woken
	// proof is cleared by a wake-up that did not find the stub in its wait.
	proof bool
	// proving has batches run until they are proved.
	proving bool
	audit   audit
	cpu     int // the CPU that the stub is pinned to, -1 before the first run
	// owner is the register set whose extended state is in the stub's
	// frame and nowhere else; nil if r.X of every task is current.
	owner     *arch.Regs
	destroyed bool

	proc stubexe.Process
	// template is set for the process that sealed stubs are copies of.
	template bool
	doomed   bool // under reaper.mu: killed on purpose

	// procMu orders signals to the stub with its death: the pid and the pidfd
	// may only be used while the stub has not been reaped.
	procMu sync.Mutex
	reaped bool
	status sys.Status

	// dead is set before link.died, and read after the CPU is handed to the
	// stub: one side always sees the other.
	dead atomic.Bool
	// owners counts who still needs the stub data frames: the MM, until it
	// is destroyed, and the reaper, until the stub is gone.
	owners atomic.Int32
}

// NewMM starts a stub (UML's start_userspace) and returns an empty address
// space over it.
func (m *Monitor) NewMM() (*MM, error) {
	l, launch, err := m.protocol.open(m)
	if err != nil {
		return nil, err
	}
	return m.newMM(l, launch)
}

func (m *Monitor) newMM(l link, launch launch) (*MM, error) {
	x := &MM{mon: m, link: l, cpu: -1}
	x.report.mctx = make([]byte, m.arch.MContextSize())
	x.queue = syscallq.New(m.protocol.limits(), m.mem, x.runBatch)
	if err := launch(x); err != nil {
		l.close()
		return nil, err
	}
	if !x.template {
		m.stats.stubStarts.Add(1)
	}
	x.owners.Store(2)
	if err := m.reaper.watch(x); err != nil {
		panic("BUG: a fresh pidfd cannot be watched: " + err.Error())
	}

	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	x.table = mm.New(m.mem, m.End())
	if m.guard.Sealed {
		x.table.HoldRevoked()
	}
	m.mu.Lock()
	m.mms[x] = struct{}{}
	m.mu.Unlock()
	err := x.link.start(x)
	if err == nil {
		err = x.link.first(x)
	}
	if err != nil {
		x.destroyLocked()
		return nil, fmt.Errorf("start stub: %w", err)
	}
	return x, nil
}

// Table is the page table over [0, Monitor.End). Changes take effect on the
// host when the mm is next run or flushed.
func (x *MM) Table() *mm.Table { return x.table }

// End is the end of guest space.
func (x *MM) End() arch.Addr { return x.mon.End() }

// PID is the stub's process id on the host.
func (x *MM) PID() int { return x.proc.PID }

// Flush brings the stub's mappings in line with the page table now, without
// running guest code. The stub must be stopped, that is no Run is under way on
// another vCPU: Flush waits for it.
func (x *MM) Flush() error {
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	if x.destroyed {
		return ErrStubDead
	}
	if err := x.link.enter(x, nil); err != nil {
		return err
	}
	defer x.link.leave(nil)
	if err := x.table.Sync(x.queue); err != nil {
		return x.lost(err)
	}
	if err := x.queue.Flush(); err != nil {
		return x.lost(err)
	}
	return nil
}

// SaveX makes r.X current, if r's task was the last to run on this mm. The next
// Run of r loads r.X again, so r.X may be changed after SaveX.
func (x *MM) SaveX(r *arch.Regs) {
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	if x.owner != r {
		return
	}
	if x.link.enter(x, nil) != nil {
		return // what a dead stub had does not matter any more
	}
	defer x.link.leave(nil)
	x.saveOwner()
}

func (x *MM) saveOwner() {
	if x.owner.X == nil {
		x.owner.X = make([]byte, x.mon.arch.XSize())
	}
	x.link.loadX(x.owner.X)
	x.owner = nil
}

// Destroy kills the stub. The mm's frames are returned once the stub is gone
// (Monitor.Quiesce waits for that). Destroying twice is harmless.
func (x *MM) Destroy() {
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	x.destroyLocked()
}

func (x *MM) destroyLocked() {
	if x.destroyed {
		return
	}
	x.destroyed = true
	x.owner = nil
	x.mon.reaper.doom(x)
	x.kill()
	if x.proc.Sock >= 0 {
		unix.Close(x.proc.Sock)
	}
	if x.listener != nil {
		x.listener.close()
	}
	x.mon.mu.Lock()
	delete(x.mon.mms, x)
	x.mon.mu.Unlock()
	q := x.queue.Stats()
	x.mon.stats.addQueue(q)
	x.release()
}

// release drops one of the two claims on the frames: they go back when the mm
// is destroyed and its stub is gone, whichever comes last. Not earlier: until
// it is gone, the stub maps them.
func (x *MM) release() {
	if x.owners.Add(-1) != 0 {
		return
	}
	x.table.Destroy()
	x.link.close()
}

// reap collects the status of a stub that has ended, after which its pid may be
// anybody's.
func (x *MM) reap() error {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	reap := func() (sys.Status, error) { return sys.Reap(x.proc.PIDFD) }
	if x.template {
		reap = func() (sys.Status, error) { return sys.ReapGroup(x.proc.PID) }
	}
	status, err := reap()
	if err == nil {
		x.reaped, x.status = true, status
	}
	return err
}

// died runs on the reaper's thread, after reap.
func (x *MM) died() {
	if !x.template {
		x.mon.stats.stubDeaths.Add(1) // before anybody can know
	}
	x.dead.Store(true)
	x.link.died()
	x.release()
}

// signal sends a signal to the stub, if it is still there.
func (x *MM) signal(sig unix.Signal) {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	if x.reaped {
		return
	}
	if err := unix.PidfdSendSignal(x.proc.PIDFD, sig, nil, 0); err != nil && err != unix.ESRCH {
		panic(fmt.Sprintf("BUG: signal %v to our own stub %d: %v", sig, x.proc.PID, err))
	}
}

// pin moves the stub to a CPU, if it is still there.
func (x *MM) pin(cpu int) {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	if x.reaped {
		return
	}
	// Fails only if the stub is gone, which the wait will notice.
	_ = sys.SetAffinity(x.proc.PID, cpu)
	x.cpu = cpu
}

func (x *MM) kill() { x.signal(unix.SIGKILL) }

// refuse kills the stub for something that it did or failed to do, and says so.
// A stub that is dying already fails in many ways, for which it is not to blame.
func (x *MM) refuse(format string, args ...any) error {
	if x.dying() {
		return x.deathError()
	}
	err := fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrStubDead)
	x.mon.stats.refused.Add(1)
	x.mon.log.Warn("stub killed", "pid", x.proc.PID, "reason", err)
	x.kill()
	return err
}

// dying reports whether the stub has ended by itself; if it is about to, it
// waits for that.
func (x *MM) dying() bool {
	x.procMu.Lock()
	dying := x.reaped || sys.Exiting(x.proc.PID)
	x.procMu.Unlock()
	for dying && !x.dead.Load() {
		time.Sleep(100 * time.Microsecond)
	}
	return dying
}

// lost is what a failure of the queue means: the stub's death, if it is not the
// cause.
func (x *MM) lost(err error) error {
	if errors.Is(err, ErrStubDead) {
		return err
	}
	return x.refuse("%v", err)
}

// deathError tells how the stub ended.
func (x *MM) deathError() error {
	x.procMu.Lock()
	s := x.status
	x.procMu.Unlock()
	if s.Exited() {
		return fmt.Errorf("stub %d %v: %w", x.proc.PID, stubabi.Exit(s.Value), ErrStubDead)
	}
	return fmt.Errorf("stub %d was killed by %v: %w", x.proc.PID, unix.SignalName(unix.Signal(s.Value)), ErrStubDead)
}
