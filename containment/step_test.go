package containment

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"goskas/arch"
	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// stepper stops an offender's stub at instructions of the test's choice, as a
// host does that gives the CPU to somebody else just then. It is the stub's
// tracer: all that it does is done on one thread.
type stepper struct {
	o   *offender
	pid int
}

// stepping runs f beside the offender, with its stub stopped in guest code that
// spins at the label "gate".
func (o *offender) stepping(f func(st *stepper) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the tracer must be one thread
		st := &stepper{o: o, pid: o.mm.PID()}
		done <- func() error {
			if err := sys.PtraceSeize(st.pid); err != nil {
				return fmt.Errorf("seize the stub: %w", err)
			}
			if err := st.toGate(); err != nil {
				return err
			}
			return f(st)
		}()
	}()
	return done
}

// gate has a program wait for the stepper.
func (c *code) gate() {
	c.Label("gate")
	c.Pause()
	c.Jmp("gate")
	c.Label("behind-gate")
}

// stop waits for the stub to stop, and gives the signal that it is about to get:
// none if it was stopped by the stepper.
func (st *stepper) stop() (unix.Signal, error) {
	how, err := sys.WaitStopped(st.pid)
	if err != nil {
		return 0, fmt.Errorf("wait for the stub: %w", err)
	}
	if sig := unix.Signal(how & 0xff); how>>8 == 0 && sig != unix.SIGTRAP {
		return sig, nil
	}
	return 0, nil
}

func (st *stepper) registers() (r unix.PtraceRegs, err error) {
	err = unix.PtraceGetRegs(st.pid, &r)
	return r, err
}

// toGate interrupts the stub until it is found at the gate, and lets it through.
func (st *stepper) toGate() error {
	from, to := uint64(st.o.labels["gate"]), uint64(st.o.labels["behind-gate"])
	// A signal that stops the stub first leaves the interrupt to come; another
	// one would stop it as soon as it goes on, for ever.
	pending := false
	for start := time.Now(); ; {
		if !pending {
			time.Sleep(time.Millisecond)
			if err := unix.PtraceInterrupt(st.pid); err != nil {
				return fmt.Errorf("interrupt the stub: %w", err)
			}
		}
		sig, err := st.stop()
		if err != nil {
			return err
		}
		pending = sig != 0
		r, err := st.registers()
		if err != nil {
			return err
		}
		if sig == 0 && r.Rip >= from && r.Rip < to {
			r.Rip = to
			return unix.PtraceSetRegs(st.pid, &r)
		}
		if time.Since(start) > 30*time.Second {
			return fmt.Errorf("the stub is not at the gate, but at %#x", r.Rip)
		}
		if err := sys.PtraceCont(st.pid, sig); err != nil {
			return err
		}
	}
}

// to makes steps until the stub is at an address.
func (st *stepper) to(at arch.Addr) error {
	for range 1000 {
		if err := unix.PtraceSingleStep(st.pid); err != nil {
			return fmt.Errorf("step the stub: %w", err)
		}
		if _, err := st.stop(); err != nil {
			return err
		}
		if r, err := st.registers(); err != nil || arch.Addr(r.Rip) == at {
			return err
		}
	}
	return fmt.Errorf("the stub does not come to %#x", uint64(at))
}

// word reads a word of the stub's memory, and setWord writes one as the guest
// could.
func (st *stepper) word(at arch.Addr) (uint32, error) {
	var b [4]byte
	_, err := unix.PtracePeekData(st.pid, uintptr(at), b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (st *stepper) setWord(at arch.Addr, v uint32) error {
	_, err := unix.PtracePokeData(st.pid, uintptr(at), binary.LittleEndian.AppendUint32(nil, v))
	return err
}

func (st *stepper) detach() error { return sys.PtraceDetach(st.pid) }
