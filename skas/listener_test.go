package skas

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"
	"goskas/physmem"
	"goskas/stubexe/stubabi"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// under makes a rig's guard g, in the mode that has guards, as far as the host has
// what that needs.
func under(t testing.TB, g guard.Guard) func(*Config) {
	testkit.Need(t, g.Needs...)
	return func(c *Config) { c.Mode, c.Guard = ModeSeccomp, g }
}

func withListener(t *testing.T, f func(t *testing.T, g guard.Guard)) {
	for _, g := range guard.All() {
		if len(g.Routed) > 0 {
			t.Run(g.String(), func(t *testing.T) { f(t, g) })
		}
	}
}

// watched is g with each call shown to see before it is answered.
func watched(g guard.Guard, see func(guard.Call)) guard.Guard {
	check := g.Check
	g.Check = func(c guard.Call, p guard.Pages) string {
		see(c)
		return check(c, p)
	}
	return g
}

const fixedShared = unix.MAP_FIXED | unix.MAP_SHARED

// The stub is under one filter and holds its listener, which is of no use to it;
// the monitor has it too, close-on-exec.
func TestKernelListenerIsTaken(t *testing.T) {
	for _, g := range guard.All() {
		if g.Sealed {
			continue
		}
		t.Run(g.String(), func(t *testing.T) {
			r := newRig(t, 0, under(t, g))
			x := r.newMM()
			want := map[string]string{"0": "socket"}
			if len(g.Routed) > 0 {
				want["1"] = "anon_inode:seccomp notify"
			}
			dir := fmt.Sprintf("/proc/%d/fd", x.PID())
			got := make(map[string]string)
			names, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				link, err := os.Readlink(dir + "/" + n.Name())
				if err != nil {
					t.Fatal(err)
				}
				got[n.Name()], _, _ = strings.Cut(link, ":[")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.PID()))
			if err != nil || !bytes.Contains(status, []byte("\nSeccomp:\t2\nSeccomp_filters:\t1\n")) {
				t.Errorf("%v\n%s", err, status)
			}
			if (x.listener != nil) != (len(g.Routed) > 0) {
				t.Fatalf("listener %v", x.listener)
			}
			if x.listener == nil {
				return
			}
			flags, err := unix.FcntlInt(uintptr(x.listener.fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("flags %#x, %v", flags, err)
			}
		})
	}
}

// The calls of a batch pass the guard once each, in the order in which they were
// queued, with and without the synchronous wake-up.
func TestKernelQueuedCallsAreAnsweredInOrder(t *testing.T) {
	withListener(t, func(t *testing.T, g guard.Guard) {
		for _, noSync := range []bool{false, true} {
			var calls []guard.Call
			r := newRig(t, 100, under(t, watched(g, func(c guard.Call) { calls = append(calls, c) })),
				func(c *Config) { c.NoSyncWake = noSync })
			x, regs := r.program(callForever)
			runToCall := func() {
				t.Helper()
				for r.run(x, regs).Kind == Tick {
				}
			}
			const gone = dataAt + 0x101000
			r.page(x, gone, arch.Read)
			runToCall()
			calls = nil
			before := r.mon.Stats()
			var want []guard.Call
			for i := range 200 { // more than one batch
				at := dataAt + arch.Addr(2*i*arch.PageSize)
				r.page(x, at, arch.Read|arch.Write)
				_, offset := r.mem.PhysMapping(x.Table().Lookup(at).PFN())
				want = append(want, guard.Call{Kind: stubabi.Mmap, Addr: uint64(at), Length: arch.PageSize,
					Prot: unix.PROT_READ | unix.PROT_WRITE, Flags: fixedShared, Offset: uint64(offset)})
			}
			x.Table().Unmap(gone, gone+arch.PageSize)
			unmap := guard.Call{Kind: stubabi.Munmap, Addr: gone, Length: arch.PageSize}
			if slices.Contains(g.Routed, stubabi.Munmap) {
				at := slices.IndexFunc(want, func(c guard.Call) bool { return c.Addr > gone })
				if at < 0 {
					at = len(want)
				}
				want = slices.Insert(want, at, unmap)
			}
			runToCall()
			if diff := cmp.Diff(want, calls); diff != "" {
				t.Errorf("without the wake-up %v: %s", noSync, diff)
			}
			after := r.mon.Stats()
			if n := after.Notified - before.Notified; n != uint64(len(want)) || after.Denied != 0 || after.Refused != 0 {
				t.Errorf("%d notified, %d denied, %d refused", n, after.Denied, after.Refused)
			}
		}
	})
}

// Guest code makes the stub's mapping call by itself: the call waits in the
// kernel, the word stays as it is, and the monitor answers at its next look.
func TestKernelCallOutOfBatch(t *testing.T) {
	const foreign = 0x7000
	mmap := []int64{dataAt, arch.PageSize, unix.PROT_READ, fixedShared, -1, foreign}
	top := func(r *rig) int64 { return int64(r.mon.End()) }
	for _, c := range []struct {
		name   string
		guard  guard.Guard
		label  string
		nr     int64
		args   func(r *rig) []int64
		want   unix.Errno
		reason string // of the denial; "" if there is none
	}{
		{"mmap under validate", guard.Validate, "mmap", unix.SYS_MMAP, func(*rig) []int64 { return mmap },
			unix.EPERM, fmt.Sprintf("page %#x does not map frame 7 with", dataAt)},
		{"mmap under notify", guard.Notify, "mmap", unix.SYS_MMAP, func(*rig) []int64 { return mmap }, unix.EBADF, ""},
		{"munmap of the stub under validate", guard.Validate, "munmap", unix.SYS_MUNMAP,
			func(r *rig) []int64 { return []int64{top(r), arch.PageSize} }, unix.EPERM, "range not in guest space"},
		{"munmap of its own under validate", guard.Validate, "munmap", unix.SYS_MUNMAP,
			func(*rig) []int64 { return []int64{dataAt, arch.PageSize} }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, 100, under(t, c.guard), func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			x, regs := r.intruder(arch.Read, func(i *intruder) { i.enter(c.label, c.nr, c.args(r)...) })
			queued := uint64(2) // the two pages of the program
			if slices.Contains(c.guard.Routed, stubabi.Munmap) {
				queued++ // the first batch
			}
			ev := r.run(x, regs)
			for ev.Kind == Tick {
				ev = r.run(x, regs)
			}
			if ev.Kind != PageFault || ev.Fault.Addr != workAt || int64(regs.GPR[rax]) != -int64(c.want) {
				t.Errorf("%v %+v, result %d; want %v", ev.Kind, ev.Fault, int64(regs.GPR[rax]), c.want)
			}
			denied := uint64(0)
			if c.reason != "" {
				denied = 1
			}
			s := r.mon.Stats()
			if s.Denied != denied || s.Refused != 0 || s.Notified < queued+1 {
				t.Errorf("%d notified, %d denied, %d refused", s.Notified, s.Denied, s.Refused)
			}
			line := log.String()
			for _, part := range []string{fmt.Sprintf("pid=%d", x.PID()), "addr=", "offset=", c.reason} {
				if (c.reason != "") != (c.reason != "" && strings.Contains(line, part)) {
					t.Errorf("the log lacks %q:\n%s", part, line)
				}
			}
			if c.reason == "" && line != "" {
				t.Errorf("log:\n%s", line)
			}
		})
	}
}

// A hijacked stub slips calls of its own in between those of a batch, which it
// makes by itself: all are answered for what they are, and as they come, without
// a tick that would have the monitor look again.
func TestKernelSlippedInCallsAreNotCounted(t *testing.T) {
	eBADF, ePERM := -int64(unix.EBADF), -int64(unix.EPERM)
	const marker = 4242
	for range 10 { // a tick may come between on a busy host
		var reasons []string
		g := guard.Validate
		g.Check = func(c guard.Call, p guard.Pages) string {
			reason := guard.Validate.Check(c, p)
			reasons = append(reasons, fmt.Sprintf("%#x %v", c.Addr, reason == ""))
			return reason
		}
		r := newRig(t, 1, under(t, g))
		const entries = 3
		type entry struct{ addr, offset int64 }
		var batch []entry
		var frames []physmem.PFN
		for i := range entries {
			pfn, err := r.mem.Alloc()
			if err != nil {
				t.Fatal(err)
			}
			_, offset := r.mem.PhysMapping(pfn)
			batch = append(batch, entry{dataAt + int64(2*i*arch.PageSize), offset})
			frames = append(frames, pfn)
		}
		x, regs := r.intruder(arch.Read|arch.Write, func(i *intruder) {
			i.pretend()
			i.awaitWake()
			for _, e := range batch {
				i.mmap(ePERM, 0x600000, arch.PageSize, unix.PROT_READ, fixedShared, -1, 0x5000)
				// Allowed, but without a descriptor.
				i.mmap(eBADF, e.addr, arch.PageSize, unix.PROT_READ, fixedShared, -1, e.offset)
			}
			i.Mov(8, asm.RAX, asm.Imm(marker))
			i.Syscall()
		})
		if ev := r.run(x, regs); ev.Kind != Tick {
			t.Fatalf("%+v", ev)
		}
		for i, e := range batch {
			if err := x.Table().Map(arch.Addr(e.addr), frames[i], arch.Read); err != nil {
				t.Fatal(err)
			}
		}
		reasons = nil
		ev := r.run(x, regs)
		if r.mon.Stats().TicksForwarded > 0 {
			continue
		}
		var want []string
		for _, e := range batch {
			want = append(want, "0x600000 false", fmt.Sprintf("%#x true", e.addr))
		}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Error(diff)
		}
		if ev.Kind != Syscall || ev.NR != marker {
			t.Errorf("%+v", ev)
		}
		if s := r.mon.Stats(); s.Denied != entries {
			t.Errorf("%d denied", s.Denied)
		}
		return
	}
	t.Error("a tick came between each time")
}

// The death of a stub is noticed wherever it happens.
func TestKernelStubDiesAroundANotification(t *testing.T) {
	withListener(t, func(t *testing.T, g guard.Guard) {
		for _, c := range []struct {
			name string
			// dies arranges the death of x, whose next run has a batch.
			dies func(x *MM, answering *func())
		}{
			{"while it waits for an answer", func(x *MM, answering *func()) {
				*answering = func() { unix.Kill(x.PID(), unix.SIGKILL) }
			}},
			{"while it waits for an answer, stopped", func(x *MM, answering *func()) {
				*answering = func() {
					unix.Kill(x.PID(), unix.SIGSTOP)
					time.AfterFunc(20*time.Millisecond, func() { unix.Kill(x.PID(), unix.SIGKILL) })
				}
			}},
			{"while the monitor waits for its call", func(x *MM, _ *func()) {
				unix.Kill(x.PID(), unix.SIGSTOP)
				time.AfterFunc(30*time.Millisecond, func() { unix.Kill(x.PID(), unix.SIGKILL) })
			}},
			{"before", func(x *MM, _ *func()) { unix.Kill(x.PID(), unix.SIGKILL) }},
		} {
			t.Run(c.name, func(t *testing.T) {
				testkit.NoLeaks(t)
				var answering func()
				r := newRig(t, 100, under(t, watched(g, func(guard.Call) {
					if f := answering; f != nil {
						answering = nil
						f()
					}
				})))
				x, regs := r.program(callForever)
				other, otherRegs := r.program(func(a *asm.Assembler) { a.Syscall() })
				r.run(x, regs)
				r.page(x, dataAt, arch.Read)
				c.dies(x, &answering)
				ev, err := r.vcpu.Run(x, regs)
				for err == nil { // it was answered before it died
					ev, err = r.vcpu.Run(x, regs)
				}
				if !errors.Is(err, ErrStubDead) {
					t.Errorf("%+v, %v", ev, err)
				}
				for r.run(other, otherRegs).Kind == Tick {
				}
				if s := r.mon.Stats(); s.Denied != 0 || s.Refused != 0 || s.StubDeaths != 1 {
					t.Errorf("%d denied, %d refused, %d deaths", s.Denied, s.Refused, s.StubDeaths)
				}
			})
		}
	})
}

// A stub that is stopped while it waits for an answer loses its notification
// (the answer finds nobody) and asks again when it goes on.
func TestKernelStubStoppedInANotification(t *testing.T) {
	withListener(t, func(t *testing.T, g guard.Guard) {
		var log bytes.Buffer
		var x *MM
		nth := 0
		r := newRig(t, 100, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) },
			under(t, watched(g, func(guard.Call) {
				if nth--; nth == 0 {
					stop(t, x)
					time.AfterFunc(30*time.Millisecond, func() { unix.Kill(x.PID(), unix.SIGCONT) })
				}
			})))
		const pages = 5
		x, regs := r.sum(pages)
		for first := range pages { // stopped in the first call, the second ...
			want := r.remap(x, pages, byte(first))
			before := r.mon.Stats()
			nth = first + 1
			if got := r.runSum(x, regs); got != want {
				t.Errorf("sum %d, want %d", got, want)
			}
			if n := r.mon.Stats().Notified - before.Notified; n <= pages {
				t.Errorf("stopped in call %d: %d notifications for %d calls", first, n, pages)
			}
		}
		if s := r.mon.Stats(); s.Denied != 0 || s.Refused != 0 || log.Len() > 0 {
			t.Errorf("%d denied, %d refused, log %s", s.Denied, s.Refused, log.String())
		}
	})
}

// A stub that is stopped and continued at any moment, again and again, is slow
// and nothing else.
func TestKernelStubStoppedAtAnyMoment(t *testing.T) {
	withListener(t, func(t *testing.T, g guard.Guard) {
		r := newRig(t, 100, under(t, g))
		const pages = 8
		x, regs := r.sum(pages)
		quit := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			for {
				select {
				case <-quit:
					return
				case <-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond):
				}
				unix.Kill(x.PID(), unix.SIGSTOP)
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
				unix.Kill(x.PID(), unix.SIGCONT)
			}
		})
		for round := range 200 {
			want := r.remap(x, pages, byte(round))
			if got := r.runSum(x, regs); got != want {
				t.Errorf("round %d: sum %d, want %d", round, got, want)
			}
		}
		close(quit)
		done.Wait()
		if s := r.mon.Stats(); s.Denied != 0 || s.Refused != 0 {
			t.Errorf("%d denied, %d refused", s.Denied, s.Refused)
		}
	})
}

// sum makes a program that adds up the first bytes of pages, which are not
// adjacent, and says the sum with a system call, again and again.
func (r *rig) sum(pages int) (*MM, *arch.Regs) {
	x, regs := r.program(func(a *asm.Assembler) {
		a.Label("again")
		a.Mov(8, asm.RBX, asm.Imm(dataAt))
		a.Mov(8, asm.RCX, asm.Imm(int64(pages)))
		a.Alu(asm.Xor, 4, asm.RDI, asm.RDI)
		a.Label("next")
		a.Movzx(1, asm.RAX, asm.Ptr(asm.RBX, 0))
		a.Alu(asm.Add, 8, asm.RDI, asm.RAX)
		a.Alu(asm.Add, 8, asm.RBX, asm.Imm(2*arch.PageSize))
		a.Dec(8, asm.RCX)
		a.Jcc(asm.NE, "next")
		a.Syscall()
		a.Jmp("again")
	})
	r.remap(x, pages, 0)
	r.runSum(x, regs)
	return x, regs
}

// remap gives the program fresh pages and tells their sum.
func (r *rig) remap(x *MM, pages int, seed byte) (sum uint64) {
	for i := range pages {
		b := seed + byte(3*i)
		r.page(x, dataAt+arch.Addr(2*i*arch.PageSize), arch.Read)[0] = b
		sum += uint64(b)
	}
	return sum
}

func (r *rig) runSum(x *MM, regs *arch.Regs) uint64 {
	r.t.Helper()
	for {
		switch ev := r.run(x, regs); ev.Kind {
		case Tick:
		case Syscall:
			return ev.Args[0]
		default:
			r.t.Fatalf("%+v", ev)
		}
	}
}

// stop stops a stub and waits until it is.
func stop(t *testing.T, x *MM) {
	t.Helper()
	unix.Kill(x.PID(), unix.SIGSTOP)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := bytes.Cut(stat, []byte(") ")); bytes.HasPrefix(rest, []byte("T")) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
