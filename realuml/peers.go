package realuml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Skas runs the program with this project's own command, whose executable is
// skas; flags are for skas run. Ptrace and Memory are said by flags, and the
// program is always process 1.
func Skas(ctx context.Context, skas string, c Config, flags ...string) (*Result, error) {
	return c.outside(ctx, func(root string) []string {
		args := append([]string{skas, "run", "--root", root}, flags...)
		for _, e := range c.Env {
			args = append(args, "--env", e)
		}
		args = append(args, "--", "/"+programFile)
		return append(args, c.Args[min(1, len(c.Args)):]...)
	})
}

// Native runs the program as a process of the host.
func Native(ctx context.Context, c Config) (*Result, error) {
	return c.outside(ctx, func(root string) []string {
		return append([]string{filepath.Join(root, programFile)}, c.Args[min(1, len(c.Args)):]...)
	})
}

// outside runs a command line of the host in a root laid out for it.
func (c Config) outside(ctx context.Context, line func(root string) []string) (*Result, error) {
	dir, err := os.MkdirTemp("", "uml")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := c.layOut(root, [][]byte{c.Program}); err != nil {
		return nil, err
	}
	args := line(root)
	trace := filepath.Join(dir, "trace")
	if c.Trace {
		args = append([]string{"strace", "-ff", "-o", trace}, args...)
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = root
	cmd.Env = c.Env
	if c.Trace || len(c.Env) == 0 {
		cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	}
	cmd.Stdin = bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run %s: %w", args[0], err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run %s: %w; its output:\n%s", args[0], context.Cause(ctx), output.String())
	}
	status := unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))
	r := &Result{Output: output.Bytes(), Status: shellStatus(status)}
	if c.Trace {
		if r.Stubs, err = readTraces(trace); err != nil {
			return nil, err
		}
	}
	return r, nil
}
