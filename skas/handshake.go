package skas

import (
	"goskas/arch"
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Sizes and offsets of siginfo_t (asm-generic/siginfo.h) on 64-bit hosts, and
// the code of a SIGSYS that seccomp raised.
const (
	siginfoSize  = 128
	offSICode    = 8
	offSIAddr    = 16
	offSISysArch = 28
	sysSeccomp   = 1
)

// wake hands the batch and the CPU to the stub (UML's wake_stub): descriptors
// first, then the word, then the wake.
func (x *MM) wake() error {
	if fds := x.queue.FDs(); len(fds) > 0 {
		if err := x.sender.Send(x.proc.Sock, fds); err != nil {
			if x.dead.Load() {
				return x.deathError()
			}
			return x.refuse("pass descriptors: %v", err)
		}
	}
	d := x.data
	d.Len = int32(copy(d.Entries[:], x.queue.Entries()))
	d.Err = 0
	d.Signal = 0
	d.Futex.Set(stubabi.InChild)
	sys.FutexWake(d.Futex.Addr(), 1)
	return nil
}

// wait sleeps until the stub reports or dies (UML's wait_stub_done_seccomp).
// With a vCPU, it also wakes at that vCPU's ticks and forwards them: the timer
// is the wait's deadline, so no tick can fall between the two.
func (x *MM) wait(v *VCPU) error {
	d := x.data
	for d.Futex.Get() == stubabi.InChild {
		// The stub may have died before the word was handed to it: then
		// nobody will flip the word again.
		if x.dead.Load() {
			return x.deathError()
		}
		var errno unix.Errno
		if v == nil {
			errno = sys.FutexWait(d.Futex.Addr(), uint32(stubabi.InChild), -1)
		} else {
			errno = sys.FutexWait(d.Futex.Addr(), uint32(stubabi.InChild), v.tick.Deadline())
		}
		switch errno {
		case unix.ETIMEDOUT:
			v.forwardTick(x)
		case 0, unix.EAGAIN, unix.EINTR:
		default:
			return x.refuse("futex wait: %v", errno)
		}
	}
	if x.dead.Load() {
		return x.deathError()
	}
	return nil
}

// report takes the one copy of what the stub says, and checks it: where it
// claims that its registers lie must be inside its signal stack.
func (x *MM) report() (stubabi.Report, error) {
	r := x.data.Report()
	if int(r.MCtxOffset)+x.mon.arch.MContextSize() > len(x.stack) {
		return r, x.refuse("mcontext at offset %#x is not in the signal stack", r.MCtxOffset)
	}
	if int(r.SIOffset)+siginfoSize > len(x.stack) {
		return r, x.refuse("siginfo at offset %#x is not in the signal stack", r.SIOffset)
	}
	x.mctx = int(r.MCtxOffset)
	return r, nil
}

// runBatch is the queue's way to be run on its own: the stub runs the batch and
// reports again without leaving its handler.
func (x *MM) runBatch() error {
	x.data.RestartWait = 1
	if err := x.wake(); err != nil {
		return err
	}
	if err := x.wait(nil); err != nil {
		return err
	}
	r := x.data.Report()
	if unix.Signal(r.Signal) != unix.SIGSYS {
		return x.refuse("signal %d reported for a batch", r.Signal)
	}
	return x.queue.Done(r.Len, r.Err)
}

// locateX finds the extended state that a copied mcontext points to, inside the
// signal stack.
func (x *MM) locateX(mctx []byte) error {
	a := x.mon.arch
	base := x.mon.layout.Data + arch.PageSize
	at := a.FrameX(mctx)
	if at < base || at&63 != 0 || uint64(at-base)+uint64(a.XSize()) > uint64(len(x.stack)) {
		return x.refuse("extended state at %#x is not in the signal stack", uint64(at))
	}
	x.x = int(at - base)
	return nil
}
