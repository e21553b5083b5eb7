package guest_test

import (
	"fmt"
	"testing"

	"goskas/guest"
)

// What threads do may not depend on how many vCPUs run them.
func TestGuestThreadsAsOnHost(t *testing.T) {
	for _, cpus := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d vCPUs", cpus), func(t *testing.T) {
			asOnHost(t, guest.Config{CPUs: cpus}, "threads")
		})
	}
}

func TestGuestSignalsAsOnHost(t *testing.T) {
	for _, name := range []string{"signals", "cputimers"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they sleep
			asOnHost(t, guest.Config{CPUs: 2}, name)
		})
	}
}
