package skas

import (
	"fmt"
	"runtime"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// enter makes the calling thread the stub's tracer.
func (l *tracedLink) enter(x *MM, v *VCPU) error {
	if v == nil {
		runtime.LockOSThread()
	}
	tid := unix.Gettid()
	if v != nil && v.tid != tid {
		return fmt.Errorf("run vCPU %d: by another goroutine than the one that made it, which traces its stubs", v.id)
	}
	err := l.seize(tid)
	if err != nil {
		if v == nil {
			runtime.UnlockOSThread()
		}
		return err
	}
	switch {
	case v == nil:
	case l.tracing.keep:
		l.kept = true
	case l.tracing.leaves:
		l.kept, v.held = true, x
	}
	return nil
}

// leave lets the stub go, so that any other thread can trace it.
func (l *tracedLink) leave(v *VCPU) {
	if !l.kept || l.wanted > 0 {
		l.release()
	}
	if v == nil {
		runtime.UnlockOSThread()
	}
}

func (l *tracedLink) lend(v *VCPU) {
	if l.tracer == v.tid {
		l.release()
	}
}

// ptraceEventStop is PTRACE_EVENT_STOP (linux/ptrace.h): a stop that has
// to do with stopping, not with a signal on its way to the tracee.
const ptraceEventStop = 128

func (l *tracedLink) seize(tid int) error {
	for l.tracer != 0 && l.tracer != tid && !l.tracing.keep && !l.mm.dead.Load() {
		free := l.free
		l.wanted++
		l.mm.turnstile.Unlock()
		select {
		case <-free:
		case <-l.gone: // the tracer may never come back to it
		}
		l.mm.turnstile.Lock()
		l.wanted--
	}
	switch {
	case l.mm.destroyed:
		return ErrStubDead
	case l.mm.dead.Load():
		return l.mm.deathError()
	case l.tracer == tid:
		return nil
	case l.tracer != 0:
		panic(fmt.Sprintf("BUG: thread %d operates stub %d, which is the only vCPU's (thread %d)", tid, l.pid, l.tracer))
	}
	l.mm.procMu.Lock()
	err := error(unix.ESRCH)
	if !l.mm.reaped { // else its pid may be another's
		err = sys.PtraceSeize(l.pid)
	}
	l.mm.procMu.Unlock()
	if err != nil {
		return l.lost("trace the stub", err)
	}
	l.tracer = tid
	for {
		stop, err := sys.WaitStopped(l.pid)
		if err != nil {
			return l.lost("wait for it to stop", err)
		}
		if stop>>8 == ptraceEventStop {
			return nil
		}
		// A signal that was on its way. The stop is still to come.
		if err := sys.PtraceCont(l.pid, passed(stop)); err != nil {
			return l.lost("go on to a stop", err)
		}
	}
}

// passed is the signal that a stub gets for a stop that is not of its guest's
// making: whatever somebody on the host has sent it, but for a tick.
func passed(stop int) unix.Signal {
	if sig := unix.Signal(stop); sig != unix.SIGALRM && stop < 128 {
		return sig
	}
	return 0
}

// release ends the tracing. Errors mean that the stub is gone, which the next
// turn will notice.
func (l *tracedLink) release() {
	if sys.PtraceSetRegs(l.pid, l.tracing.stay) == nil {
		_ = sys.PtraceDetach(l.pid)
	}
	l.tracer, l.kept = 0, false
	if l.wanted > 0 {
		close(l.free)
		l.free = make(chan struct{})
	}
}
