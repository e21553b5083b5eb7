package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goskas/bench"
	"goskas/internal/testkit"
	"goskas/realuml"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// needUML skips a test where real User Mode Linux cannot be had.
func needUML(t *testing.T) {
	t.Helper()
	dir, err := realuml.CacheDir()
	if err == nil {
		_, err = realuml.Fetch(t.Context(), dir, t.Logf)
	}
	switch {
	case errors.Is(err, realuml.ErrUnavailable):
		testkit.Skip(t, err)
	case err != nil:
		t.Fatal(err)
	}
}

// TestGuestBenchPeers runs a few rounds of every kind of program.
func TestGuestBenchPeers(t *testing.T) {
	needUML(t)
	save := filepath.Join(t.TempDir(), "new", "peers")
	args := strings.Fields("bench peers --rounds 2 --repeats 2 --pin on getppid map-4K populate-16K exec pipe --save")
	status, stdout, stderr := command(t, append(args, save)...)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	for _, want := range []string{"Everything on CPU ", "sealed : uml-seccomp", "fork+exec+wait ", "sealed "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	markdown, err := os.ReadFile(save + ".md")
	if err != nil || !strings.Contains(string(markdown), "| getppid ") {
		t.Errorf("%v; saved:\n%s", err, markdown)
	}
	text, err := os.ReadFile(save + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r bench.PeersReport
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	var metrics, variants []string
	for _, res := range r.Placements[0].Results {
		metrics = append(metrics, res.Metric)
	}
	for _, v := range r.Placements[0].Results[0].On {
		variants = append(variants, v.Variant)
	}
	if diff := cmp.Diff([]string{"getppid", "mmap+touch 4K", "munmap 4K", "mmap 16K populated", "munmap 16K populated", "fork+exec+wait", "pipe ping-pong"}, metrics); diff != "" {
		t.Errorf("operations: want (-), got (+)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"native", "none", "sealed", bench.UMLSeccomp, bench.UMLPtrace}, variants); diff != "" {
		t.Errorf("variants: want (-), got (+)\n%s", diff)
	}
	if got := len(r.Placements[0].Contest); got != len(metrics) {
		t.Errorf("%d verdicts on %d operations", got, len(metrics))
	}
}

// Without real User Mode Linux there is one clear line.
func TestBenchPeersWithoutUML(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no apt
	status, stdout, stderr := command(t, "bench", "peers", "--cache", t.TempDir(), "getppid")
	if status != exitSelf || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, realuml.ErrUnavailable.Error()) {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// An interrupt ends the comparison and leaves nothing behind.
func TestGuestBenchPeersInterrupted(t *testing.T) {
	needUML(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	testkit.NoLeaks(t)
	// Should it be too early for the command: the test itself does not die.
	ours := make(chan os.Signal, 100)
	signal.Notify(ours, unix.SIGINT)
	defer signal.Stop(ours)
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(100 * time.Millisecond):
			}
			// Once User Mode Linux is up.
			if up, err := filepath.Glob(filepath.Join(tmp, "uml*", "uml", "pid")); err == nil && len(up) == 2 {
				unix.Kill(os.Getpid(), unix.SIGINT)
			}
		}
	}()
	status, stdout, stderr := command(t, "bench", "peers", "--rounds", "100000000", "--repeats", "1", "getppid")
	close(over)
	if status != 130 || stdout != "" || stderr != "skas: bench: interrupted\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
