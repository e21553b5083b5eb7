package guest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goskas/guest"
	"goskas/internal/testguest"
	"goskas/internal/testkit"
	"goskas/timer"
)

func TestGuestTimeAsOnHost(t *testing.T) {
	testkit.NoLeaks(t)
	for _, cpus := range []int{1, 2} {
		for _, without := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d vCPUs, without vDSO %v", cpus, without), func(t *testing.T) {
				asOnHost(t, guest.Config{CPUs: cpus, NoVDSO: without}, "vdso")
			})
		}
	}
}

// Programs get the time without a system call, and it is the host's.
func TestGuestTellsTheTimeByItself(t *testing.T) {
	files := map[string][]byte{"vdso": compile(t, "vdso")}
	calls := func(without bool) (n uint64, off time.Duration, has bool) {
		got, stats := testguest.InGuest(t, guest.Config{Files: files, NoVDSO: without}, []string{"vdso", "more"}, nil)
		now := time.Now()
		var wall, vdso int64
		last := got.Out[strings.LastIndex(got.Out, "vdso "):]
		if _, err := fmt.Sscanf(last, "vdso %d, at %d", &vdso, &wall); err != nil {
			t.Fatalf("%v in %q", err, got.Out)
		}
		return stats.Calls["clock_gettime"] + stats.Calls["gettimeofday"] + stats.Calls["time"],
			now.Sub(time.Unix(0, wall)), vdso == 1
	}
	n, off, has := calls(true)
	if has {
		t.Error("a vDSO in spite of NoVDSO")
	}
	if off < 0 || off > time.Minute {
		t.Errorf("the host's time is %v later", off)
	}
	with, off, has := calls(false)
	if !has {
		source, err := timer.Source()
		if source == "tsc" {
			t.Fatal("no vDSO on a host whose clocks run on the time stamp counter")
		}
		testkit.Skip(t, fmt.Errorf("the host's clocks run on %q (%v)", source, err))
	}
	if off < 0 || off > time.Minute {
		t.Errorf("with a vDSO the host's time is %v later", off)
	}
	// The program makes 12000 system calls by itself, and asks for odd clocks.
	if n < 12000+4000 || with < 12000 || with > 12100 {
		t.Errorf("%d system calls for the time without a vDSO, %d with it", n, with)
	}
}
