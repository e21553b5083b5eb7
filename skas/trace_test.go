package skas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// tracer steps through a stub's code on a thread of its own: only the thread
// that has attached may ask anything of a tracee.
type tracer struct {
	pid   int
	stub  arch.Addr // the stub's code page
	code  []byte
	calls chan func()
	done  chan struct{}
}

func newTracer(t *testing.T, pid int, stub arch.Addr, code []byte) *tracer {
	tr := &tracer{pid: pid, stub: stub, code: code, calls: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(tr.done)
		runtime.LockOSThread() // for good
		for f := range tr.calls {
			f()
		}
	}()
	t.Cleanup(func() {
		close(tr.calls)
		<-tr.done
	})
	return tr
}

// do runs f on the tracer's thread.
func (tr *tracer) do(f func() error) error {
	result := make(chan error)
	tr.calls <- func() { result <- f() }
	return <-result
}

// stop waits for the tracee to stop and says with which signal.
func (tr *tracer) stop() (unix.Signal, error) {
	var ws unix.WaitStatus
	for {
		switch _, err := unix.Wait4(tr.pid, &ws, unix.WALL, nil); {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for the tracee: %w", err)
		case !ws.Stopped():
			return 0, fmt.Errorf("the tracee has ended: %#x", int(ws))
		default:
			return ws.StopSignal(), nil
		}
	}
}

// attach stops the stub in its wait.
func (tr *tracer) attach() error {
	for start := time.Now(); ; time.Sleep(50 * time.Microsecond) {
		state, err := testkit.State(tr.pid)
		if err != nil || state == "S" {
			break
		}
		if time.Since(start) > 30*time.Second {
			return fmt.Errorf("the stub does not sleep: %s", state)
		}
	}
	return tr.freeze()
}

// freeze stops the stub wherever it is.
func (tr *tracer) freeze() error {
	if err := unix.PtraceSeize(tr.pid); err != nil {
		return fmt.Errorf("seize: %w", err)
	}
	if err := unix.PtraceInterrupt(tr.pid); err != nil {
		return fmt.Errorf("interrupt: %w", err)
	}
	_, err := tr.stop()
	return err
}

func (tr *tracer) step(sig unix.Signal) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(tr.pid), 0, uintptr(sig), 0, 0)
	if errno != 0 {
		return fmt.Errorf("step: %w", errno)
	}
	return nil
}

// stepInto makes steps until the stub has been woken from its wait and n
// instructions of its code have been begun, or the stub is back at its wait, behind which it would not come by itself. at
// is where the stub is then; there is false if it was the wait that ended it.
// Signals of guest code go their way. Over an iretq the stub runs freely to the
// guest's next signal: the host would take the trap flag of a step for the
// guest's own from there on.
func (tr *tracer) stepInto(n int, wait arch.Addr) (at arch.Addr, there bool, err error) {
	var sig unix.Signal
	woken, guest := false, false // guest code has run
	for {
		if at-tr.stub < arch.PageSize && bytes.HasPrefix(tr.code[at-tr.stub:], []byte{0x48, 0xcf}) {
			err = unix.PtraceCont(tr.pid, int(sig))
		} else {
			err = tr.step(sig)
		}
		if err != nil {
			return 0, false, err
		}
		if sig, err = tr.stop(); err != nil {
			return 0, false, err
		}
		if sig == unix.SIGTRAP {
			sig = 0
		}
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(tr.pid, &regs); err != nil {
			return 0, false, fmt.Errorf("registers: %w", err)
		}
		at = arch.Addr(regs.Rip)
		if at-tr.stub >= arch.PageSize || sig != 0 {
			guest = true
			continue
		}
		if woken = woken || at == wait+2; !woken {
			continue
		}
		if n--; n == 0 || guest && at == wait {
			return at, n == 0, nil
		}
	}
}

// traced is a guest that has something in all of its registers, and the tracer
// of its stub.
type traced struct {
	*rig
	t     *testing.T
	x     *MM
	task  *xTask
	tr    *tracer
	wait  arch.Addr
	round int
}

// baseWord is what stands where a segment base points, which is one of two pages
// in turn.
func baseWord(page uint64) uint64 { return 0x5a5a0000 + page }

const (
	basesAt   = 0x40000
	toggledAt = 0x60000
)

func newTraced(t *testing.T) *traced {
	r := newRig(t, 0, under(t, guard.Sealed))
	x, base := r.program(func(a *asm.Assembler) {
		xProgramWith(a, func() {
			a.Bytes([]byte{0x64, 0x4c, 0x8b, 0x24, 0x25, 0, 0, 0, 0}) // mov r12, fs:[0]
			a.Bytes([]byte{0x65, 0x4c, 0x8b, 0x2c, 0x25, 0, 0, 0, 0}) // mov r13, gs:[0]
		})
	})
	for _, i := range []int{0, 1, 2, 6, 7, 8, 9, 10, 12} { // all that the program leaves alone
		base.GPR[i] = 0x0101010101010101 * uint64(0x81+i)
	}
	base.GPR[17] |= 1<<0 | 1<<7 | 1<<10 | 1<<11 | 1<<18 | 1<<21 // CF, SF, DF, OF, AC, ID
	tt := &traced{rig: r, t: t, x: x, task: r.xTask(x, base, 0x30000, 2)}
	for i := range 2 {
		binary.LittleEndian.PutUint64(r.page(x, basesAt+arch.Addr(i)*arch.PageSize, arch.Read), baseWord(uint64(i)))
	}
	stub := r.mon.protocol.(*sealed).stub
	off, ok := stub.Label("site-wait")
	if !ok {
		t.Fatal("no site-wait")
	}
	tt.wait = r.mon.Layout().Code + arch.Addr(off)
	tt.tr = newTracer(t, x.PID(), r.mon.Layout().Code, stub.Code)
	tt.task.regs.FSBase, tt.task.regs.GSBase = basesAt, basesAt
	tt.run(x, tt.task.regs) // nothing has been stored yet
	return tt
}

// change gives the next batch something to do, and the stub other bases.
func (tt *traced) change() {
	tt.round++
	if tt.round%2 == 0 {
		tt.x.Table().Unmap(toggledAt, toggledAt+arch.PageSize)
	} else {
		tt.page(tt.x, toggledAt, arch.Read)
	}
	tt.task.regs.FSBase = basesAt + uint64(tt.round%2)*arch.PageSize
	tt.task.regs.GSBase = basesAt + uint64((tt.round+1)%2)*arch.PageSize
}

// event runs the guest to its next event, which must be of one of the kinds, and
// checks that nothing has changed that the guest has not.
func (tt *traced) event(kinds ...Kind) Kind {
	tt.t.Helper()
	regs := tt.task.regs
	regs.GPR[13] = 0x1234 // rax, the next call's number
	before := *regs
	ev := tt.run(tt.x, regs)
	after := *regs
	for _, k := range kinds {
		if ev.Kind != k {
			continue
		}
		if k == Syscall {
			tt.task.check(tt.t)
			before.GPR[4] = baseWord((regs.FSBase - basesAt) / arch.PageSize)
			before.GPR[5] = baseWord((regs.GSBase - basesAt) / arch.PageSize)
			// rcx and r11 are what the call makes them; the flags are r11.
			for _, i := range []int{3, 14, 16} {
				before.GPR[i], after.GPR[i] = 0, 0
			}
		}
		before.X, after.X = nil, nil
		if before.GPR != after.GPR || before.FSBase != after.FSBase || before.GSBase != after.GSBase {
			tt.t.Fatalf("round %d: registers after %v:\n%x\n%x", tt.round, k, before, after)
		}
		return k
	}
	tt.t.Fatalf("round %d: event %+v", tt.round, ev)
	return 0
}

// ticks is the number of ticks that are reported along with two system calls.
func (tt *traced) ticks() (n int) {
	tt.t.Helper()
	for calls := 0; calls < 2; {
		if tt.event(Syscall, Tick) == Tick {
			n++
		} else {
			calls++
		}
	}
	return n
}

// A tick at any instruction of the stub's code, coming and going, is reported
// once, and changes nothing of the guest's.
func TestKernelTickAtEveryInstructionOfTheStub(t *testing.T) {
	tt := newTraced(t)
	seen := make(map[arch.Addr]bool)
	for n := 1; ; n++ {
		// Twice, for a batch that maps and one that takes away.
		more := false
		for range 2 {
			tt.change()
			switch err := tt.tr.do(tt.tr.attach); {
			case errors.Is(err, unix.EPERM): // a sealed stub is not dumpable
				testkit.Skip(t, err)
			case err != nil:
				t.Fatal(err)
			}
			type result struct {
				at    arch.Addr
				there bool
				err   error
			}
			done := make(chan result, 1)
			go func() {
				var r result
				r.err = tt.tr.do(func() (err error) {
					if r.at, r.there, err = tt.tr.stepInto(n, tt.wait); err != nil {
						return err
					}
					if r.there {
						err = unix.Kill(tt.tr.pid, unix.SIGALRM)
					}
					return errors.Join(err, unix.PtraceDetach(tt.tr.pid))
				})
				done <- r
			}()
			ticks := tt.ticks()
			r := <-done
			if r.err != nil {
				t.Fatalf("instruction %d: %v", n, r.err)
			}
			want := 0
			if r.there {
				want, more = 1, true
				seen[r.at] = true
			}
			if ticks != want {
				t.Fatalf("%d ticks reported for one at instruction %d, offset %#x", ticks, n, r.at-tt.tr.stub)
			}
		}
		if !more {
			t.Logf("%d instructions on the longest way, %d different ones", n-1, len(seen))
			break
		}
	}
	// All but what only a tick leads to, and the report of a batch that ran
	// alone.
	stub := tt.mon.protocol.(*sealed).stub
	offset := func(name string) int {
		off, ok := stub.Label(name)
		if !ok {
			t.Fatalf("no label %s", name)
		}
		return int(off)
	}
	behindRan := 0
	for off := 0; off < offset("resumed"); {
		in, err := x86asm.Decode(stub.Code[off:], 64)
		if err != nil {
			t.Fatal(err)
		}
		if off >= offset("ran") && off < offset("resume") {
			behindRan++
		}
		if alone := off < offset("resume") && behindRan > 2; !alone && !seen[tt.tr.stub+arch.Addr(off)] {
			t.Errorf("no tick at offset %#x, %v", off, in)
		}
		off += in.Len
	}
}
