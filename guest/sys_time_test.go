package guest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// An interval of centuries once overflowed the time of the next expiry: the
// timer was due for ever, and the kernel ran it for ever.
func TestIntervalTimerOfCenturies(t *testing.T) {
	k, clock := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 1)
	if e := task.storeWords(arch.Addr(at), 1<<62, 0, 0, 1); e != 0 {
		t.Fatal(e)
	}
	task.must(t, unix.SYS_SETITIMER, 0, at, 0)
	clock.Advance(time.Second)
	done := make(chan int, 1)
	go func() { done <- k.timers.Run(k.now()) }()
	select {
	case n := <-done:
		if n != 1 || task.shared.set != sigMask(unix.SIGALRM) {
			t.Errorf("fired %d times, pending %#x", n, task.shared.set)
		}
	case <-time.After(20 * time.Second):
		panic("the kernel runs one timer for ever")
	}
}

func TestIntervalTimerSkipsWhatWasMissed(t *testing.T) {
	k, clock := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 1)
	if e := task.storeWords(arch.Addr(at), 0, 10_000, 0, 10_000); e != 0 { // 10 ms, in microseconds
		t.Fatal(e)
	}
	task.must(t, unix.SYS_SETITIMER, 0, at, 0)
	clock.Advance(35 * time.Millisecond)
	if n := k.timers.Run(k.now()); n != 1 {
		t.Errorf("fired %d times", n)
	}
	if at, ok := k.timers.Next(); !ok || at != time.Second+40*time.Millisecond {
		t.Errorf("next at %v", at)
	}
	task.must(t, unix.SYS_SETITIMER, 0, 0, 0)
	if _, ok := k.timers.Next(); ok {
		t.Error("still armed")
	}
}
