package skas

import (
	"fmt"
	"os"
	"sync"
	"time"

	"goskas/arch"
	"goskas/internal/sys"
	"goskas/stubexe"

	"golang.org/x/sys/unix"
)

// template makes the stubs of guard sealed: copies of one process, which has been
// through the start-up that they would all go through, and runs no guest code.
// The monitor operates it like a stub: it is woken with a stub's orders in its
// registers, and reports the new process's id like a system call. The first call
// starts it, and another if it has died.
//
// The new process is the template's sibling: a child of the monitor's spawning
// thread, whose end it would not survive.
type template struct {
	mu   sync.Mutex
	mm   *MM // nil before the first stub
	regs arch.Regs
}

// launch makes the process of x's stub, over l's pages.
func (t *template) launch(s *sealed, l *sealedLink, x *MM) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mm != nil && t.mm.dead.Load() {
		t.mm.Destroy()
		t.mm = nil
	}
	if t.mm == nil {
		mm, err := s.newTemplate(x.mon)
		if err != nil {
			return fmt.Errorf("template for stubs: %w", err)
		}
		t.mm = mm
	}
	if err := t.copy(s, l, x); err != nil {
		return fmt.Errorf("copy the template for stubs: %w", err)
	}
	return nil
}

// newTemplate starts a template, by exec.
func (s *sealed) newTemplate(m *Monitor) (*MM, error) {
	l, err := s.newLink()
	if err != nil {
		return nil, err
	}
	mem, _ := s.mem.PhysMapping(0)
	write, _ := s.pages.PhysMapping(0)
	init := l.offsets()
	exec := m.spawn.launch(s.exe, stubexe.Orders{FDs: []int{mem, s.read, write}, Init: init.Bytes()})
	return m.newMM(templateLink{l}, func(x *MM) error {
		x.template = true
		return exec(x)
	})
}

// copy has the template make one copy of itself.
func (t *template) copy(s *sealed, l *sealedLink, child *MM) error {
	x := t.mm
	x.turnstile.Lock()
	defer x.turnstile.Unlock()
	// A copy starts on the CPU of the template, and will most likely be run on
	// this one: whoever asks for a stub is a vCPU.
	cpu, err := sys.CurrentCPU()
	if err != nil {
		return err
	}
	if x.cpu != cpu {
		x.pin(cpu)
	}
	o := l.offsets()
	s.arch.StartCall(&t.regs, s.lay.Template(), [6]uint64{o.ControlOffset, o.DataOffset, uint64(os.Getpid())})
	pid, err := x.ask(&t.regs)
	if err == nil && pid < 0 { // the template is as it was: there is no copy
		return fmt.Errorf("clone: %w", unix.Errno(-pid))
	}
	if err == nil {
		child.cpu = cpu
		child.proc, err = x.adopt(pid)
	}
	if err != nil {
		// There may be a copy with the pages that the caller frees now. It ends
		// with the template, whose group it is in.
		x.kill()
		for !x.dead.Load() {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return err
}

// ask has the template go on with r until it reports what clone has returned: a
// copy's pid, or an errno below 0.
func (x *MM) ask(r *arch.Regs) (pid int, err error) {
	x.load(r)
	if err := x.link.wake(x, nil); err != nil {
		return 0, err
	}
	if err := x.link.wait(x, nil); err != nil {
		return 0, err
	}
	if err := x.take(); err != nil {
		return 0, err
	}
	x.owner = r
	if x.report.signal != unix.SIGSYS {
		return 0, x.refuse("the template reports signal %d, not SIGSYS", x.report.signal)
	}
	x.link.registers(&x.report, r)
	_, args := x.mon.arch.Syscall(r)
	return int(int64(args[0])), nil
}

// adopt takes a process that the template has just made out of its group, and
// makes it one of ours.
func (x *MM) adopt(pid int) (stubexe.Process, error) {
	x.procMu.Lock()
	defer x.procMu.Unlock()
	if x.reaped { // and its group with it
		return stubexe.Process{}, fmt.Errorf("template %d has ended: %w", x.proc.PID, ErrStubDead)
	}
	// Nobody has reaped it yet, so the number is still its own.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return stubexe.Process{}, fmt.Errorf("pidfd_open: %w", err)
	}
	if err := unix.Setpgid(pid, pid); err != nil {
		unix.Close(pidfd)
		return stubexe.Process{}, fmt.Errorf("setpgid: %w", err)
	}
	return stubexe.Process{PID: pid, PIDFD: pidfd, Sock: -1}, nil
}

// templateLink is the link of the template, which is a sealed stub that has been
// started by exec.
type templateLink struct{ *sealedLink }

// start waits for the SIGSYS that proves the filter, which all copies have.
func (l templateLink) start(x *MM) error { return l.byWord.start(x) }

// first takes away what the start-up program could not: itself.
func (l templateLink) first(x *MM) error {
	end, _ := (l.stub.Base + arch.Addr(l.program)).PageUp()
	if err := x.queue.Unmap(l.stub.Base, uint64(end-l.stub.Base)); err != nil {
		return err
	}
	return x.queue.Flush()
}
