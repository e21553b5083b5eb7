package timer

import (
	"testing"
	"time"
)

// A futex that timed out at a deadline of this clock must find it past: the
// clock is never behind the kernel's. How far ahead it may be depends on the
// load when it was made.
func TestMonotonicIsTheKernelsClock(t *testing.T) {
	for range 1000 {
		before := kernelMonotonic()
		now := Monotonic().Now()
		after := kernelMonotonic()
		if now < before || now > after+100*time.Millisecond {
			t.Fatalf("the clock says %v between %v and %v", now, before, after)
		}
	}
}
