package skas

import (
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// words is a stub that hands its turn over by a word in a page that it shares
// with the monitor.
type words interface {
	word() *stubabi.Word
	// offer shows the batch to the stub, which waits and is about to be
	// woken. With alone the stub reports again behind the batch; otherwise
	// it returns to the guest.
	offer(x *MM, alone bool) error
}

// byWord is the handshake of UML's seccomp mode.
type byWord struct{ words }

// start waits for the SIGSYS that proves the filter.
func (h byWord) start(x *MM) error {
	if err := h.wait(x, nil); err != nil {
		return err
	}
	if err := x.take(); err != nil {
		return err
	}
	if x.report.signal != unix.SIGSYS {
		return x.refuse("first report is signal %d, not SIGSYS", x.report.signal)
	}
	if len(x.mon.guard.Routed) > 0 {
		return x.takeListener(h.word())
	}
	return nil
}

// enter and leave have nothing to do: any thread may change the word.
func (byWord) enter(*MM, *VCPU) error { return nil }
func (byWord) leave(*VCPU)            {}
func (byWord) lend(*VCPU)             {}

func (h byWord) wake(x *MM, v *VCPU) error { return h.hand(x, v, false) }

// hand hands the batch and the CPU to the stub (UML's wake_stub): first what
// goes with the batch, then the word, then the wake.
//
// With a listener it also answers the calls of the batch; v is the vCPU whose
// ticks bound that, or nil.
func (h byWord) hand(x *MM, v *VCPU, alone bool) error {
	x.forward = forward{}
	x.wakes++
	if err := h.offer(x, alone); err != nil {
		return x.refuse("%v", err)
	}
	// A stub that is in its wait when the word becomes InChild runs the batch
	// before any guest code. Word and wake-up are one call: between two, guest
	// code that only claims to have stopped could take the word back and go to
	// the wait, and would wait on. A wake-up that finds nobody proves nothing:
	// on one CPU the stub's own wake hands the CPU over before the stub waits.
	x.mon.stats.wakes.Add(1)
	woken, err := sys.FutexSetAndWake(h.word().Addr(), uint32(stubabi.InChild))
	if err != nil {
		return x.refuse("hand over to the stub: %v", err)
	}
	if woken != 1 {
		x.proof = false
		x.mon.stats.missed.Add(1)
	}
	if x.listener != nil {
		return x.listener.serve(x, v)
	}
	return nil
}

// wait sleeps until the stub reports or dies (UML's wait_stub_done_seccomp).
// With a vCPU, it also wakes at that vCPU's ticks and forwards them: the timer
// is the wait's deadline, so no tick can fall between the two.
func (h byWord) wait(x *MM, v *VCPU) error {
	w := h.word()
	for w.Get() == stubabi.InChild {
		// The stub may have died before the word was handed to it: then
		// nobody will flip the word again.
		if x.dead.Load() {
			return x.deathError()
		}
		deadline := x.nextLook(v)
		switch errno := sys.FutexWait(w.Addr(), uint32(stubabi.InChild), deadline); errno {
		case unix.ETIMEDOUT, unix.EINTR:
			if err := x.look(v); err != nil {
				return err
			}
		case 0, unix.EAGAIN:
		default:
			return x.refuse("futex wait: %v", errno)
		}
	}
	if x.dead.Load() {
		return x.deathError()
	}
	return nil
}

// take gets the stub's report, or kills the stub for it.
func (x *MM) take() error {
	if err := x.link.take(&x.report); err != nil {
		return x.refuse("%v", err)
	}
	return nil
}

// runBatch is the queue's way to be run on its own.
func (x *MM) runBatch() error {
	run := x.link.batch
	if x.proving {
		run = prove
	}
	if err := run(x); err != nil {
		return err
	}
	return x.queue.Done(x.report.at, x.report.err)
}

func (h byWord) batch(x *MM) error {
	if err := h.hand(x, nil, true); err != nil {
		return err
	}
	if err := h.wait(x, nil); err != nil {
		return err
	}
	if err := x.take(); err != nil {
		return err
	}
	if !x.report.ran {
		return x.refuse("signal %d reported for a batch", x.report.signal)
	}
	return nil
}

func (h byWord) died() {
	h.word().Set(stubabi.InKern)
	sys.FutexWake(h.word().Addr(), 1)
}
