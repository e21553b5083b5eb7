package skas

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"

	"golang.org/x/sys/unix"
)

// A stub that is stopped, or held by a debugger, at any time and for as long as
// somebody likes is not taken for a stub that misbehaves, and loses nothing.
func TestKernelFrozenStubGoesOn(t *testing.T) {
	r := newRig(t, 100, under(t, guard.Sealed))
	x, base := r.program(xProgram)
	task := r.xTask(x, base, 0x30000, 2)
	tr := newTracer(t, x.PID(), r.mon.Layout().Code, nil)
	rnd := rand.New(rand.NewPCG(6, 7))
	nap := func(most time.Duration) { time.Sleep(time.Duration(rnd.Int64N(int64(most)))) }
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := range 20 {
				if err := unix.Kill(x.PID(), unix.SIGSTOP); err != nil {
					return err
				}
				nap(30 * time.Millisecond)
				if err := unix.Kill(x.PID(), unix.SIGCONT); err != nil {
					return err
				}
				nap(5 * time.Millisecond)
				if err := tr.do(tr.freeze); err != nil {
					return err
				}
				if i == 10 {
					time.Sleep(time.Second)
				}
				nap(30 * time.Millisecond)
				if err := tr.do(func() error { return unix.PtraceDetach(tr.pid) }); err != nil {
					return err
				}
				nap(5 * time.Millisecond)
			}
			return nil
		}()
	}()
	calls, ticks := 0, 0
	for {
		select {
		case err := <-done:
			if errors.Is(err, unix.EPERM) {
				testkit.Skip(t, err)
			}
			if err != nil || calls < 100 {
				t.Fatalf("%v after %d calls and %d ticks", err, calls, ticks)
			}
			return
		default:
		}
		switch ev := r.run(x, task.regs); ev.Kind {
		case Syscall:
			if calls++; calls > 1 {
				task.check(t)
			}
		case Tick:
			ticks++
		default:
			t.Fatalf("after %d calls and %d ticks: %+v", calls, ticks, ev)
		}
	}
}

// Code in the 32-bit segment is resumed there, be it after a call or a tick.
func TestKernel32BitCodeIsResumed(t *testing.T) {
	r := newRig(t, 1000, under(t, guard.Sealed))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RSP, asm.Imm(dataAt+0x800))
		a.Lea(asm.RAX, asm.At("narrow"))
		a.Mov(4, asm.Ptr(asm.RSP, 0), asm.RAX)
		a.Mov(4, asm.Ptr(asm.RSP, 4), asm.Imm(0x23))
		a.Bytes([]byte{0xff, 0x2c, 0x24}) // ljmp [rsp]
		a.Label("narrow")
		a.Bytes([]byte{0xb9, 0x00, 0x00, 0x80, 0x00}) // mov ecx, 0x800000
		a.Bytes([]byte{0x31, 0xd2})                   // xor edx, edx
		a.Bytes([]byte{0x42, 0x49, 0x75, 0xfc})       // inc edx; dec ecx (REX prefixes elsewhere); jnz -4
		a.Bytes([]byte{0xb8, 0x14, 0x00, 0x00, 0x00}) // mov eax, 20
		a.Bytes([]byte{0xcd, 0x80})                   // int 0x80
		a.Bytes([]byte{0xea})                         // ljmp 0x33:wide
		at := a.Len()
		a.Bytes([]byte{byte(textAt + at + 6), byte((textAt + at + 6) >> 8), byte((textAt + at + 6) >> 16), 0, 0x33, 0})
		a.Mov(8, asm.R15, asm.Imm(0x123456789abcdef0))
		a.Syscall()
	})
	r.page(x, dataAt, arch.Read|arch.Write)
	ticks := 0
	next := func() Event {
		for {
			ev := r.run(x, regs)
			if ev.Kind != Tick {
				return ev
			}
			ticks++
		}
	}
	ev := next()
	if ev.Kind == PageFault && ev.Fault.Trap == 13 && ev.Fault.Code == 0x20 && regs.CS == 0 {
		// The jump itself faults for its selector: some hypervisors have none.
		testkit.Skip(t, errors.New("this host refuses the 32-bit code segment"))
	}
	if ev.Kind != Syscall || ev.AuditArch != unix.AUDIT_ARCH_I386 || regs.CS != 0x23 || regs.GPR[12] != 0x800000 {
		t.Fatalf("%+v at %#x with segment %#x, %#x rounds", ev, regs.GPR[16], regs.CS, regs.GPR[12])
	}
	r.arch.SetResult(regs, 5)
	ev = next()
	if ev.Kind != Syscall || ev.AuditArch != unix.AUDIT_ARCH_X86_64 || ev.NR != 5 || regs.CS != 0 || regs.GPR[7] != 0x123456789abcdef0 {
		t.Fatalf("%+v with segment %#x, r15 %#x", ev, regs.CS, regs.GPR[7])
	}
	if ticks == 0 {
		t.Error("no tick in 32-bit code")
	}
}

// The nested task flag is the one flag that a guest cannot keep: iretq refuses
// it. It is lost at the guest's next event, or the stub is, where the host leaves
// it set in the stub's own code; nobody else notices.
func TestKernelNestedTaskFlagIsLost(t *testing.T) {
	r := newRig(t, 100, under(t, guard.Sealed))
	x, regs := r.program(func(a *asm.Assembler) {
		a.Bytes([]byte{0x9c})                                     // pushfq
		a.Bytes([]byte{0x81, 0x0c, 0x24, 0x00, 0x40, 0x00, 0x00}) // or dword [rsp], NT
		a.Bytes([]byte{0x9d})                                     // popfq
		a.Label("loop")
		a.Syscall()
		a.Jmp("loop")
	})
	r.page(x, dataAt, arch.Read|arch.Write)
	for calls := 0; calls < 10; {
		ev, err := r.vcpu.Run(x, regs)
		if errors.Is(err, ErrStubDead) {
			return
		}
		if err != nil || ev.Kind != Syscall && ev.Kind != Tick {
			t.Fatalf("event %+v, error %v", ev, err)
		}
		if ev.Kind == Tick {
			continue
		}
		calls++
		const nt = 1 << 14
		if calls > 1 && regs.GPR[17]&nt != 0 {
			t.Fatalf("flags %#x: the flag has come through, which is news", regs.GPR[17])
		}
	}
}
