package skas

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// While a vCPU runs, Go's own thread looks at it every 20 µs for a while after it
// has taken its P away, and did so every 10 ms: over 300 times in 100 ms (runtime/proc.go, Go 1.26).
func TestKernelRuntimeLooksSeldomAtAVCPU(t *testing.T) {
	r := newRig(t, 0)
	x, regs := r.program(callForever)
	const enough = 100
	least := int64(1 << 62)
	for range 30 { // whatever else goes on in this process now and then
		before := switchesOfOthers(t)
		for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
			r.run(x, regs)
		}
		if least = min(least, switchesOfOthers(t)-before); least < enough {
			return
		}
	}
	t.Errorf("the other threads slept %d times in 100 ms; %d is enough", least, enough)
}

// switchesOfOthers counts how often the threads of this process but the calling
// one have gone to sleep.
func switchesOfOthers(t *testing.T) int64 {
	t.Helper()
	var all, own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &all); err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &own); err != nil {
		t.Fatal(err)
	}
	return all.Nvcsw - own.Nvcsw
}
