package testkit

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// A descriptor, a child and a goroutine each show.
func TestHeldSeesEverything(t *testing.T) {
	before := held(t)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	stop := make(chan struct{})
	defer close(stop)
	go func() { <-stop }()

	after := held(t)
	if len(after.FDs) <= len(before.FDs) {
		t.Errorf("descriptors: %v, then %v", before.FDs, after.FDs)
	}
	if !slices.Contains(after.Children, cmd.Process.Pid) || slices.Contains(before.Children, cmd.Process.Pid) {
		t.Errorf("children: %v, then %v; want %d", before.Children, after.Children, cmd.Process.Pid)
	}
	if after.Goroutines != before.Goroutines+1 {
		t.Errorf("goroutines: %d, then %d", before.Goroutines, after.Goroutines)
	}
}

func TestNoLeaksIsQuietWithoutALeak(t *testing.T) {
	NoLeaks(t)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
