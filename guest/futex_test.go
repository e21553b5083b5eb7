package guest

import (
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// A futex in private memory belongs to one address space, whatever the call
// says: once a forked child, which still shares the frame, woke its parent.
func TestFutexInPrivateMemoryIsNotShared(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	parent := newBareTask(t, k)
	private := parent.anon(t, 1)
	shared := uint64(parent.must(t, unix.SYS_MMAP, 0, arch.PageSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uint64(0), 0))
	for _, a := range []uint64{private, shared} {
		parent.poke(t, a, []byte{1, 0, 0, 0})
	}
	child := newBareTask(t, k)
	if err := parent.space.copyTo(child.space); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   uint64
		op   uint64
		want int64
	}{{private, 0, 0}, {private, abi.FUTEX_PRIVATE_FLAG, 0}, {shared, 0, 1}, {shared, abi.FUTEX_PRIVATE_FLAG, 0}} {
		if _, e := parent.do(unix.SYS_FUTEX, c.at, abi.FUTEX_WAIT|c.op, 1, 0); e != errBlocked {
			t.Fatalf("wait: %v", e)
		}
		if n := child.must(t, unix.SYS_FUTEX, c.at, 1|c.op, 10); n != c.want {
			t.Errorf("word %#x, op %#x: the child woke %d, want %d", c.at, c.op, n, c.want)
		}
		parent.leaveFutex()
		parent.state, parent.call = taskRunning, call{}
		k.runHead, k.runTail, k.runLen = nil, nil, 0
		// Its own word still wakes it.
		if _, e := parent.do(unix.SYS_FUTEX, c.at, abi.FUTEX_WAIT|c.op, 1, 0); e != errBlocked {
			t.Fatalf("wait: %v", e)
		}
		if got := k.futexWake(parent, arch.Addr(c.at), 10, c.op != 0, ^uint32(0)); got != 1 {
			t.Errorf("word %#x, op %#x: %d woken", c.at, c.op, got)
		}
		parent.leaveFutex()
		parent.state, parent.call = taskRunning, call{}
		k.runHead, k.runTail, k.runLen = nil, nil, 0
	}
	if len(k.futexes) != 0 {
		t.Errorf("%d queues left", len(k.futexes))
	}
}

func TestFutexFaults(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	word := task.anon(t, 2)
	task.must(t, unix.SYS_MUNMAP, word+arch.PageSize, arch.PageSize)
	for _, op := range []uint64{abi.FUTEX_WAIT, 1, abi.FUTEX_REQUEUE} {
		if _, e := task.do(unix.SYS_FUTEX, word+arch.PageSize, op, 1, 0, word); e != unix.EFAULT {
			t.Errorf("op %d on a hole: %v", op, e)
		}
		if _, e := task.do(unix.SYS_FUTEX, ^uint64(3), op|abi.FUTEX_PRIVATE_FLAG, 1, 0, word); e != unix.EFAULT {
			t.Errorf("op %d above user space: %v", op, e)
		}
		if _, e := task.do(unix.SYS_FUTEX, word+2, op, 1, 0, word); e != unix.EINVAL {
			t.Errorf("op %d, not aligned: %v", op, e)
		}
	}
	if _, e := task.do(unix.SYS_FUTEX, word, abi.FUTEX_WAIT, 1, 0); e != unix.EAGAIN {
		t.Errorf("wait for another value: %v", e)
	}
	if _, e := task.do(unix.SYS_FUTEX, word, abi.FUTEX_WAIT_BITSET, 0, 0, 0, 0); e != unix.EINVAL {
		t.Errorf("wait for no bit: %v", e)
	}
}
