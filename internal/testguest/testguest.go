package testguest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"goskas/arch/amd64"
	"goskas/guest"
	"goskas/internal/sys"
	"goskas/internal/testkit"
	"goskas/skas"
)

// patience is how long a program may take; hosts are busy.
const patience = 2 * time.Minute

// Result is what a program left behind: its exit status as a shell gives it,
// and what it wrote to standard output and standard error together.
type Result struct {
	Status int
	Out    string
}

// OnHost places files in a directory and runs argv[0] there.
func OnHost(t testing.TB, files map[string][]byte, argv, env []string) Result {
	t.Helper()
	dir := t.TempDir()
	for name, image := range files {
		if err := sys.WriteExecutable(filepath.Join(dir, name), image, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, argv[0]))
	cmd.Dir, cmd.Args, cmd.Env = dir, argv, env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status := cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return Result{status, string(out)}
}

// InGuest runs argv[0], one of the files of the configuration, in their
// directory, as process 1 of a guest of its own, which it takes apart again.
// The console belongs to the result. No guard may find fault with the guest.
func InGuest(t testing.TB, cfg guest.Config, argv, env []string) (Result, guest.Stats) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	out := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r) // the test sees what is missing
		out <- string(b)
	}()
	cfg.Arch, cfg.Dir, cfg.Stdout, cfg.Stderr = amd64.New(), "/toy", w, w
	cfg.Guard = testkit.Guard(t)
	if testkit.Ptrace(t) {
		cfg.Mode = skas.ModePtrace
	}
	k, err := guest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := k.Run(ctx, "/toy/"+argv[0], argv, env)
	if err != nil {
		t.Error(err)
	}
	stats := k.Stats()
	if s := stats.Skas; s.Denied != 0 || s.Refused != 0 {
		t.Errorf("%d mapping calls denied and %d stubs killed of a guest that did nothing wrong", s.Denied, s.Refused)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	w.Close()
	return Result{status, <-out}, stats
}
