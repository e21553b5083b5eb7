package guest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// ppoll and pselect6 once left the time limit as it was, and select did when a
// signal ended it.
func TestPollTellsTheTimeLeft(t *testing.T) {
	for _, c := range []struct {
		name  string
		nr    uint64
		limit int // which argument
		unit  time.Duration
	}{
		{"ppoll", unix.SYS_PPOLL, 2, time.Nanosecond},
		{"pselect6", unix.SYS_PSELECT6, 4, time.Nanosecond},
		{"select", unix.SYS_SELECT, 4, time.Microsecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, clock := newBareKernel(t, 1<<20)
			task := newBareTask(t, k)
			task.sig.actions[unix.SIGUSR1] = sigAction{handler: 0x1000, restorer: 0x2000, flags: abi.SA_RESTORER}
			at := task.anon(t, 1)
			set := func(sec, part uint64) {
				if e := task.storeWords(arch.Addr(at), sec, part); e != 0 {
					t.Fatal(e)
				}
			}
			var a [5]uint64
			a[c.limit] = at
			// begin starts the call, and ends it after a second and a half.
			begin := func() {
				if _, e := task.do(c.nr, a[:]...); e != errBlocked {
					t.Fatalf("began: %v", e)
				}
				clock.Advance(1500 * time.Millisecond)
				task.send(userSig(unix.SIGUSR1))
				k.attempt(task)
			}
			half := uint64(500 * time.Millisecond / c.unit)
			set(5, 0)
			begin()
			if task.call.restart != errRestartNoHand {
				t.Errorf("interrupted: restart %d", task.call.restart)
			}
			if got := task.peek(t, at, 16); le.Uint64(got) != 3 || le.Uint64(got[8:]) != half {
				t.Errorf("%d and %d are left, want 3 and %d", le.Uint64(got), le.Uint64(got[8:]), half)
			}

			// Nothing can be told: the call cannot go on by itself.
			task.dequeue(^uint64(0))
			task.call = call{}
			task.state = taskRunning
			set(5, 0)
			task.must(t, unix.SYS_MPROTECT, at, arch.PageSize, unix.PROT_READ)
			begin()
			if v, _ := k.arch.Syscall(&task.regs); task.call.active || int64(v) != -int64(unix.EINTR) {
				t.Errorf("with a limit that cannot be written: %d", int64(v))
			}
			task.must(t, unix.SYS_MPROTECT, at, arch.PageSize, unix.PROT_READ|unix.PROT_WRITE)

			task.dequeue(^uint64(0))
			task.state = taskRunning
			second := uint64(time.Second / c.unit)
			for _, bad := range [][2]uint64{{^uint64(0), 0}, {1, ^uint64(0)}, {^uint64(0) - 4, second / 2}} {
				set(bad[0], bad[1])
				if _, e := task.do(c.nr, a[:]...); e != unix.EINVAL {
					t.Errorf("limit %d and %d: %v", int64(bad[0]), int64(bad[1]), e)
				}
			}
		})
	}
}
