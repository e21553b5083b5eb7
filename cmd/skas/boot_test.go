package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goskas/guest"
)

// nobody is the user that tests run the command as.
const nobody = 65534

// buildCommand builds skas where every user can run it. Nothing but Go is used.
func buildCommand(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "skas")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// contains fails unless text has all the parts, in this order.
func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Errorf("%s lacks %q, or has it in another place:\n%s", what, part, text)
			return
		}
		rest = after
	}
}

func TestGuestBootCommand(t *testing.T) {
	path := buildCommand(t)
	run := func(t *testing.T, attr *syscall.SysProcAttr, args ...string) (stdout, stderr string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, append([]string{"boot"}, args...)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.SysProcAttr = &out, &errs, "/", attr
		if err := cmd.Run(); err != nil {
			t.Errorf("skas boot %v: %v\n%s%s", args, err, out.String(), errs.String())
		}
		return out.String(), errs.String()
	}
	shown := []string{"A guest has booted", "\nfork: ", "\nexec: ", "hello, world", "\npaging: ", "\ncow: ", "\nfault: ", "\ncrash: ", "\npipe: ", "\npreempt: ", "That was all"}
	table := []string{"\nWhat the stubs did:\nevents ", "\nstubs ", "\nguard ", "\nbatches ", "\nfaults answered ", "\nprocesses ", "\nswitches ", "\nticks ", "\nmemory ", "\ntime ", "\ncalls "}
	quiet := func(t *testing.T, stderr string) {
		t.Helper()
		if stderr != "" {
			t.Errorf("standard error:\n%s", stderr)
		}
	}

	t.Run("plain", func(t *testing.T) {
		out, errs := run(t, nil)
		contains(t, "standard output", out, append(shown, table...)...)
		quiet(t, errs)
	})
	t.Run("ordinary user", func(t *testing.T) {
		attr := new(syscall.SysProcAttr)
		if os.Getuid() == 0 { // else it is one already
			attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		out, errs := run(t, attr, "--mem", "1M")
		contains(t, "standard output", out, append(shown, table...)...)
		quiet(t, errs)
	})
	t.Run("strace", func(t *testing.T) {
		out, errs := run(t, nil, "--cpus", "2", "--strace")
		contains(t, "standard output", out, append(shown, table...)...)
		contains(t, "the trace", errs, `execve("/toy/init"`, `fork(`, `execve("./fork", ["fork"]`, `exited with 7`,
			`execve("./greet", ["greet", "hello,", "world"]`, `SIGSEGV`, `pipe2(`, `nanosleep(`, `SIGKILL`, `exited with 0`)
	})
	t.Run("json", func(t *testing.T) {
		out, errs := run(t, nil, "--json")
		var s guest.Stats
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%v in:\n%s", err, out)
		}
		if s.Forks == 0 || s.Execs == 0 || s.CowFaults == 0 || s.Skas.Batches == 0 || s.Calls["write"] == 0 {
			t.Errorf("statistics %+v", s)
		}
		contains(t, "standard error", errs, shown...)
	})
}

// Mistakes on the command line: one line that says what to do, and status 2.
func TestBootRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"boot --cpus 0", "--cpus 0: give a number"},
		{"boot --cpus x", "invalid argument"},
		{"boot --mem 1K", "a guest needs at least"},
		{"boot --hz 0", "--hz 0: give a number"},
		{"boot program", "program"},
		{"boot --nosuch", "unknown flag"},
	} {
		var out, errs bytes.Buffer
		status := execute(context.Background(), strings.Fields(c.args), &out, &errs)
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if status != exitUsage || !strings.Contains(lines[0], c.want) || len(lines) > 2 || out.Len() > 0 {
			t.Errorf("skas %s: status %d, %q, %q", c.args, status, out.String(), errs.String())
		}
	}
}
