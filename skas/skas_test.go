package skas

import (
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"
	"goskas/physmem"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

const (
	textAt = 0x10000
	dataAt = 0x20000
)

// rig is a monitor with one vCPU, and what tests need to run code on it.
type rig struct {
	t    testing.TB
	mem  *physmem.Memory
	arch *amd64.Arch
	mon  *Monitor
	vcpu *VCPU
}

// newRig makes one under the guard of this run; set may change what it is made
// of.
func newRig(t testing.TB, hz int, set ...func(*Config)) *rig {
	t.Helper()
	mem, err := physmem.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	cpu := amd64.New()
	cfg := Config{Memory: mem, Arch: cpu, HZ: hz, Guard: testkit.Guard(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if testkit.Ptrace(t) {
		cfg.Mode = ModePtrace
	}
	for _, f := range set {
		f(&cfg)
	}
	mon, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	vcpu, err := mon.NewVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mon.Close(); err != nil {
			t.Error(err)
		}
		if used := mem.Stats().InUse; used != 0 {
			t.Errorf("%d frames leaked", used)
		}
		if err := mem.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t, mem, cpu, mon, vcpu}
}

func (r *rig) newMM() *MM {
	r.t.Helper()
	x, err := r.mon.NewMM()
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// page maps a fresh frame and returns its bytes.
func (r *rig) page(x *MM, at arch.Addr, acc arch.Access) []byte {
	r.t.Helper()
	pfn, err := r.mem.Alloc()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := x.Table().Map(at, pfn, acc); err != nil {
		r.t.Fatal(err)
	}
	return r.mem.Bytes(pfn)
}

// program makes an mm with a program at textAt and a register set to start it.
func (r *rig) program(emit func(a *asm.Assembler)) (*MM, *arch.Regs) {
	r.t.Helper()
	a := asm.New(textAt)
	emit(a)
	code, err := a.Assemble()
	if err != nil {
		r.t.Fatal(err)
	}
	x := r.newMM()
	copy(r.page(x, textAt, arch.Read|arch.Exec), code)
	regs := new(arch.Regs)
	r.arch.Start(regs, textAt, dataAt+arch.PageSize)
	return x, regs
}

func (r *rig) run(x *MM, regs *arch.Regs) Event {
	r.t.Helper()
	ev, err := r.vcpu.Run(x, regs)
	if err != nil {
		r.t.Fatal(err)
	}
	return ev
}

// spin and callForever are programs that compute, and that do nothing but call.
func spin(a *asm.Assembler)        { a.Label("loop"); a.Jmp("loop") }
func callForever(a *asm.Assembler) { a.Label("loop"); a.Syscall(); a.Jmp("loop") }

func TestKernelSyscallAndResult(t *testing.T) {
	r := newRig(t, 0)
	x, regs := r.program(func(a *asm.Assembler) {
		for i, reg := range []asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9} {
			a.Mov(8, reg, asm.Imm(100+int64(i)))
		}
		a.Mov(8, asm.RAX, asm.Imm(9999))
		a.Syscall()
		a.Mov(8, asm.RDI, asm.RAX)
		a.Mov(8, asm.RAX, asm.Imm(1))
		a.Syscall()
	})
	want := Event{Kind: Syscall, Signo: int(unix.SIGSYS), Code: 1, NR: 9999,
		Args: [6]uint64{100, 101, 102, 103, 104, 105}, AuditArch: unix.AUDIT_ARCH_X86_64}
	if diff := cmp.Diff(want, r.run(x, regs)); diff != "" {
		t.Error(diff)
	}
	r.arch.SetResult(regs, -38)
	ev := r.run(x, regs)
	if ev.NR != 1 || int64(ev.Args[0]) != -38 {
		t.Errorf("second event %+v", ev)
	}
}

func TestKernelFaults(t *testing.T) {
	r := newRig(t, 0)
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 8))  // read, nothing there
		a.Mov(8, asm.Ptr(asm.RBX, 16), asm.RAX) // write, read-only
		a.JmpTo(asm.RBX)                        // exec, no rights
	})
	faultAt := func(addr arch.Addr, acc arch.Access, present bool) {
		t.Helper()
		ev := r.run(x, regs)
		got := ev.Fault
		want := arch.Fault{Addr: addr, Access: acc, Page: true, Present: present}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(arch.Fault{}, "Trap", "Code")); ev.Kind != PageFault || diff != "" {
			t.Fatalf("%v %s", ev.Kind, diff)
		}
	}
	faultAt(dataAt+8, arch.Read, false)
	page := r.page(x, dataAt, arch.Read)
	page[8] = 42
	faultAt(dataAt+16, arch.Write, true)
	x.Table().Protect(dataAt, dataAt+arch.PageSize, arch.Read|arch.Write)
	faultAt(dataAt, arch.Exec, true)
	if page[16] != 42 {
		t.Errorf("stored %d, want 42", page[16])
	}
}

func TestKernelTraps(t *testing.T) {
	r := newRig(t, 0)
	for _, c := range []struct {
		name string
		emit func(*asm.Assembler)
		sig  unix.Signal
	}{
		{"int3", (*asm.Assembler).Int3, unix.SIGTRAP},
		{"ud2", (*asm.Assembler).Ud2, unix.SIGILL},
		{"div", func(a *asm.Assembler) { a.Alu(asm.Xor, 4, asm.RCX, asm.RCX); a.Div(8, asm.RCX) }, unix.SIGFPE},
	} {
		x, regs := r.program(c.emit)
		if ev := r.run(x, regs); ev.Kind != Trap || ev.Signo != int(c.sig) {
			t.Errorf("%s: %+v", c.name, ev)
		}
		x.Destroy()
	}
}

// A task that computes is preempted by its vCPU's tick, with its registers.
func TestKernelTickPreempts(t *testing.T) {
	r := newRig(t, 100)
	x, regs := r.program(func(a *asm.Assembler) {
		a.Label("loop")
		a.Inc(8, asm.R12)
		a.Jmp("loop")
	})
	var last uint64
	start := time.Now()
	for range 5 {
		if ev := r.run(x, regs); ev.Kind != Tick {
			t.Fatalf("%+v", ev)
		}
		// On a busy host a tick may come before the stub is back in guest code.
		if now := regs.GPR[4]; now < last { // r12
			t.Fatalf("r12 went from %d to %d", last, now)
		} else {
			last = now
		}
	}
	if last == 0 {
		t.Error("no guest code ran")
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("5 ticks in %v", d)
	}
}

func TestKernelBatchLargerThanQueue(t *testing.T) {
	r := newRig(t, 0)
	const pages = 700 // several queues full
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(8, asm.RCX, asm.Imm(pages))
		a.Label("next")
		a.Alu(asm.Add, 8, asm.RDX, asm.Ptr(asm.RBX, 0))
		a.Alu(asm.Add, 8, asm.RBX, asm.Imm(2*arch.PageSize))
		a.Dec(8, asm.RCX)
		a.Jcc(asm.NE, "next")
		a.Syscall()
	})
	var sum uint64
	for i := range pages {
		r.page(x, dataAt+arch.Addr(2*i*arch.PageSize), arch.Read)[0] = byte(i)
		sum += uint64(byte(i))
	}
	if ev := r.run(x, regs); ev.Kind != Syscall || ev.Args[2] != sum {
		t.Errorf("%+v, want sum %d", ev, sum)
	}
	if s := r.mon.Stats(); s.Flushes < uint64(pages/r.mon.protocol.limits().Entries) || s.Entries < pages {
		t.Errorf("stats %+v", s)
	}
}

func TestKernelUnmapTakesThePageAway(t *testing.T) {
	r := newRig(t, 0)
	x, regs := r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(1, asm.Ptr(asm.RBX, 0), asm.Imm(1))
		a.Syscall()
		a.Mov(1, asm.Ptr(asm.RBX, 0), asm.Imm(2))
		a.Syscall()
	})
	r.page(x, dataAt, arch.Read|arch.Write)
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Fatalf("%+v", ev)
	}
	x.Table().Unmap(dataAt, dataAt+arch.PageSize)
	if ev := r.run(x, regs); ev.Kind != PageFault || ev.Fault.Addr != dataAt || ev.Fault.Present {
		t.Fatalf("%+v", ev)
	}
}

func TestKernelBasesFollowTheTask(t *testing.T) {
	r := newRig(t, 0)
	x, one := r.program(func(a *asm.Assembler) {
		a.Label("loop")
		a.Bytes([]byte{0x64, 0x48, 0x8b, 0x3c, 0x25, 0, 0, 0, 0}) // mov rdi, fs:0
		a.Bytes([]byte{0x65, 0x48, 0x8b, 0x34, 0x25, 0, 0, 0, 0}) // mov rsi, gs:0
		a.Syscall()
		a.Jmp("loop")
	})
	page := r.page(x, dataAt, arch.Read)
	page[0], page[64], page[128] = 1, 2, 3
	one.FSBase, one.GSBase = dataAt, dataAt+64
	two := *one
	two.FSBase, two.GSBase = dataAt+64, dataAt+128
	for range 3 {
		if ev := r.run(x, one); ev.Args[0] != 1 || ev.Args[1] != 2 {
			t.Fatalf("task one: %+v", ev)
		}
		if ev := r.run(x, &two); ev.Args[0] != 2 || ev.Args[1] != 3 {
			t.Fatalf("task two: %+v", ev)
		}
	}
}

// Killing the stub at any moment is noticed at once, and costs only its mm.
func TestKernelStubKilled(t *testing.T) {
	loop := spin
	r := newRig(t, 0)
	x, regs := r.program(loop)
	pid := x.PID()
	time.AfterFunc(30*time.Millisecond, func() { unix.Kill(pid, unix.SIGKILL) })
	if _, err := r.vcpu.Run(x, regs); !errors.Is(err, ErrStubDead) {
		t.Errorf("while it runs: %v", err)
	}
	x.Destroy()

	x, regs = r.program(loop)
	unix.Kill(x.PID(), unix.SIGKILL)
	if _, err := r.vcpu.Run(x, regs); !errors.Is(err, ErrStubDead) {
		t.Errorf("while it waits: %v", err)
	}
	if err := x.Flush(); !errors.Is(err, ErrStubDead) {
		t.Errorf("flush: %v", err)
	}

	// A guest that unmaps the signal stack's page cannot; but one that makes
	// its stack pointer bad on purpose still reports.
	x, regs = r.program(func(a *asm.Assembler) {
		a.Mov(8, asm.RSP, asm.Imm(8))
		a.Syscall()
	})
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Errorf("without a stack: %+v", ev)
	}

	x, regs = r.program(func(a *asm.Assembler) { a.Syscall() })
	if ev := r.run(x, regs); ev.Kind != Syscall {
		t.Errorf("the next mm: %+v", ev)
	}
}

// A stub that reports nonsense is killed; the monitor and other mms go on. The
// guest forges by writing to the stub's data page and flipping the word.
func TestKernelForgedReportIsRefused(t *testing.T) {
	r := newRig(t, 100, under(t, guard.None))
	data := int64(r.mon.Layout().Data)
	for _, c := range []struct {
		name            string
		signal, si, ctx int64
	}{
		{"mcontext outside", int64(unix.SIGALRM), 0, 0xfff0},
		{"siginfo outside", int64(unix.SIGALRM), 0xfff0, 0},
		{"unknown signal", 77, 0, 256},
		{"signal zero", 0, 0, 256},
		{"empty frame", int64(unix.SIGALRM), 0, 256},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, regs := r.program(func(a *asm.Assembler) {
				a.Label("loop")
				a.Mov(8, asm.RBX, asm.Imm(data))
				a.Mov(4, asm.Ptr(asm.RBX, 0xf90), asm.Imm(c.signal))
				a.Mov(2, asm.Ptr(asm.RBX, 0xf94), asm.Imm(c.si))
				a.Mov(2, asm.Ptr(asm.RBX, 0xf96), asm.Imm(c.ctx))
				a.Mov(4, asm.Ptr(asm.RBX, 0xf8c), asm.Imm(1))
				a.Jmp("loop")
			})
			ev, err := r.vcpu.Run(x, regs)
			for err == nil && ev.Kind == Tick { // a true one, on a busy host
				ev, err = r.vcpu.Run(x, regs)
			}
			if !errors.Is(err, ErrStubDead) {
				t.Errorf("event %+v, error %v", ev, err)
			}
			x.Destroy()
		})
	}
}

func TestKernelUseAfterDestroy(t *testing.T) {
	r := newRig(t, 0)
	x, regs := r.program(func(a *asm.Assembler) { a.Syscall() })
	x.Destroy()
	x.Destroy()
	if _, err := r.vcpu.Run(x, regs); !errors.Is(err, ErrStubDead) {
		t.Errorf("run: %v", err)
	}
}

// On a host with few CPUs, or pinned to one, Go's own number of Ps has the runtime
// look after every thread that waits for a stub, at a high price.
func TestKernelVCPULeavesAnIdleP(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	newRig(t, 0)
	if got, want := runtime.GOMAXPROCS(0), 1+spareProcs; got < want {
		t.Errorf("GOMAXPROCS is %d, want at least %d", got, want)
	}
}
