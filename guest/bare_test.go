package guest

import (
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/guest/vfs"
	"goskas/mm"
	"goskas/physmem"
	"goskas/timer"
)

// bareMM is the address space of a task that never runs: a page table without a
// stub.
type bareMM struct{ table *mm.Table }

func (b bareMM) Table() *mm.Table { return b.table }
func (b bareMM) End() arch.Addr   { return b.table.End() }
func (b bareMM) Revoke() error    { return nil }
func (b bareMM) Destroy()         { b.table.Destroy() }

const bareEnd = arch.Addr(1<<47 - 4*arch.PageSize)

// newBareKernel is a kernel over an empty writable tree, with a clock of the
// test's own. At the end every frame has to be back.
func newBareKernel(t testing.TB, memory int64) (*Kernel, *timer.Fake) {
	t.Helper()
	mem, err := physmem.New(memory)
	if err != nil {
		t.Fatal(err)
	}
	mem.SetPoison(true)
	k := newKernel(Config{Arch: amd64.New(), Memory: memory, TmpSize: memory / 2, Log: slog.New(slog.DiscardHandler)}, mem, nil)
	clock := new(timer.Fake)
	clock.Advance(1e9)
	k.clock = clock
	k.ns = vfs.NewNamespace(k.newTmp(memory / 2).Root())
	t.Cleanup(func() {
		k.mu.Lock()
		k.halt()
		k.mu.Unlock()
		k.dropCaches()
		if err := k.closeTree(); err != nil {
			t.Error(err)
		}
		if n := mem.Stats().InUse; n != 0 {
			t.Errorf("%d frames left", n)
		}
		mem.Close()
	})
	k.mu.Lock() // as during every system call
	t.Cleanup(k.mu.Unlock)
	return k, clock
}

// newBareTask makes a task with an empty address space.
func newBareTask(t testing.TB, k *Kernel) *Task {
	t.Helper()
	task, e := k.newTask()
	if e != 0 {
		t.Fatal(e)
	}
	task.pgid, task.sid = task.pid, task.pid
	task.sig = new(SigHand)
	task.rlimits = newLimits()
	task.fs = &FS{ns: k.ns, cwd: k.ns.Root(), umask: 0o022}
	task.files = k.newFiles()
	task.space = k.spaceOver(bareMM{mm.New(k.mem, bareEnd)})
	task.state = taskRunning
	if k.init == nil {
		k.init = task.Process
	} else {
		task.parent = k.init
		k.init.children = append(k.init.children, task.Process)
	}
	return task
}

// do makes a system call of task as its stub's report would.
func (t *Task) do(nr uint64, a ...uint64) (int64, unix.Errno) {
	var args args
	copy(args[:], a)
	t.k.beginCall(t, nr, args)
	t.k.attempt(t)
	if t.call.active {
		if t.state == taskBlocked {
			return 0, errBlocked
		}
		return 0, t.call.restart
	}
	v, _ := t.k.arch.Syscall(&t.regs) // the result register is the number's
	if r := int64(v); r < 0 && r >= -4095 {
		return 0, unix.Errno(-r)
	}
	return int64(v), 0
}

// must is do for calls that have to succeed.
func (t *Task) must(tb testing.TB, nr uint64, a ...uint64) int64 {
	tb.Helper()
	v, e := t.do(nr, a...)
	if e != 0 {
		tb.Fatalf("%s%x: %v", table[nr].name, a, e)
	}
	return v
}

// anon maps anonymous memory and returns where.
func (t *Task) anon(tb testing.TB, pages uint64) uint64 {
	tb.Helper()
	return uint64(t.must(tb, unix.SYS_MMAP, 0, pages*arch.PageSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))
}

// poke writes to a task's memory, peek reads from it.
func (t *Task) poke(tb testing.TB, at uint64, p []byte) {
	tb.Helper()
	if e := t.copyOut(arch.Addr(at), p); e != 0 {
		tb.Fatalf("write to %#x: %v", at, e)
	}
}

func (t *Task) peek(tb testing.TB, at uint64, n int) []byte {
	tb.Helper()
	p := make([]byte, n)
	if e := t.copyIn(arch.Addr(at), p); e != 0 {
		tb.Fatalf("read from %#x: %v", at, e)
	}
	return p
}
