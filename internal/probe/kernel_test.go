package probe_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"goskas/internal/probe"
	"goskas/internal/testkit"

	"golang.org/x/sys/unix"
)

var all = []probe.Feature{
	probe.MemfdExec, probe.SeccompTrap, probe.SeccompTSync, probe.Futex, probe.CloseRange, probe.Pidfds,
	probe.Openat2, probe.Limits, probe.UserNotif, probe.SeccompTSyncListener, probe.PidfdGetfd,
	probe.UserNotifSyncWakeUp, probe.FSGSBase, probe.XSave, probe.MinSigStkSz, probe.PtraceSysemu,
	probe.EBPF, probe.IA32, probe.Pinning,
}

// Each feature gives a definite answer on this host, and it is yes if the
// kernel is new enough and nothing else decides. Nothing is left behind.
func TestKernelFeatures(t *testing.T) {
	kernel, err := probe.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		t.Run(f.Name, func(t *testing.T) {
			testkit.NoLeaks(t)
			note, err := f.Probe()
			t.Logf("%q, %v", note, err)
			switch {
			case err != nil && !errors.Is(err, probe.ErrNotSupported):
				t.Error(err)
			case err == nil && !kernel.AtLeast(f.Since):
				t.Errorf("Linux %v has it, though only %v should", kernel, f.Since)
			case err != nil && kernel.AtLeast(f.Since) && !f.Varies:
				t.Errorf("Linux %v lacks it: %v", kernel, err)
			}
			if f.Advice == "" {
				t.Error("no advice")
			}
		})
	}
}

// Probes can run beside each other: each has its own thread or process.
func TestKernelFeaturesAtOnce(t *testing.T) {
	testkit.NoLeaks(t)
	var wg sync.WaitGroup
	for _, f := range all {
		want, wantErr := f.Probe()
		for range 3 {
			wg.Go(func() {
				got, err := f.Probe()
				if got != want || (err == nil) != (wantErr == nil) {
					t.Errorf("%s: %q, %v; alone %q, %v", f.Name, got, err, want, wantErr)
				}
			})
		}
	}
	wg.Wait()
}

// The answer no, on any host: limits can be lowered for this process.
func TestKernelLimitsAreSeen(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, err := probe.Limits.Probe()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, probe.ErrNotSupported) || !strings.Contains(err.Error(), "200 descriptors") {
		t.Errorf("with 200 descriptors: %v", err)
	}
}
