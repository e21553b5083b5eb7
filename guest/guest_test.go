package guest_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"goskas/arch/amd64"
	"goskas/guest"
	"goskas/internal/testkit"
	"goskas/skas"
)

// result is what a program left behind.
type result struct {
	Status int
	Out    string
}

// machine is a guest under test with its console.
type machine struct {
	*guest.Kernel
	out  func() string
	fill func(string) // gives standard input; "" closes it
	// hostile: the guest does what a guard denies or stubs are killed for.
	hostile bool
	// killed is how many stubs the test has killed. The monitor may notice by
	// the stub's socket and take it for the stub's fault.
	killed int
}

// boot makes a machine; its end is checked for what it did not give back.
func boot(t *testing.T, cfg guest.Config) *machine {
	t.Helper()
	testkit.NoLeaks(t)
	return start(t, cfg)
}

// start is boot without that check, for machines that run beside each other.
func start(t *testing.T, cfg guest.Config) *machine {
	t.Helper()
	cfg.Arch = amd64.New()
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Stdin, cfg.Stdout, cfg.Stderr = inR, outW, outW
	cfg.Guard = testkit.Guard(t)
	if testkit.Ptrace(t) {
		cfg.Mode = skas.ModePtrace
	}
	if cfg.Log == nil {
		// Why a stub was killed is all that a failure elsewhere leaves.
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	k, err := guest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(outR)
		outR.Close()
		done <- string(b)
	}()
	closed := false
	m := &machine{Kernel: k}
	m.fill = func(s string) {
		if s == "" {
			closed = true
			inW.Close()
			return
		}
		if _, err := inW.WriteString(s); err != nil {
			t.Error(err)
		}
	}
	m.out = func() string {
		if !closed {
			inW.Close()
		}
		s := k.Stats().Skas
		if !m.hostile && (s.Denied != 0 || s.Refused > uint64(m.killed)) {
			t.Errorf("%d mapping calls denied and %d stubs killed of a guest that did nothing wrong", s.Denied, s.Refused)
		}
		if err := k.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		inR.Close()
		outW.Close()
		return <-done
	}
	return m
}

// sh runs a shell script in a guest of its own, possibly beside others.
func sh(t *testing.T, cfg guest.Config, script, stdin string) result {
	t.Helper()
	var trace bytes.Buffer
	if os.Getenv("GUEST_STRACE") != "" {
		cfg.Strace = &trace
	}
	m := start(t, cfg)
	m.fill(stdin)
	m.fill("")
	status := m.sh(t, script)
	out := m.out()
	if trace.Len() > 0 {
		t.Log(trace.String())
	}
	return result{status, out}
}

// sh runs a shell script as process 1 and returns its status.
func (m *machine) sh(t *testing.T, script string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	status, err := m.Run(ctx, "/bin/busybox", []string{"sh", "-c", script}, []string{"PATH=/bin:/usr/bin", "HOME=/tmp"})
	if err != nil {
		t.Errorf("run: %v", err)
	}
	return status
}
