package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// Native runs the programs on the host, without anything in between.
type Native struct {
	dir string
	out *output
}

// NewNative puts the programs of rows where they can be run. Close removes
// them.
func NewNative(rows []*Row) (*Native, error) {
	dir, err := os.MkdirTemp("", "skas-bench-")
	if err != nil {
		return nil, fmt.Errorf("place for benchmark programs: %w", err)
	}
	n := &Native{dir: dir}
	if n.out, err = newOutput(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	for _, r := range rows {
		image, err := r.Image()
		if err == nil {
			err = sys.WriteExecutable(filepath.Join(dir, r.Name), image, 0o700)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("benchmark %s: %w", r.Name, err), n.Close())
		}
	}
	return n, nil
}

// Close removes the programs.
func (n *Native) Close() error {
	err := os.RemoveAll(n.dir)
	if n.out != nil {
		err = errors.Join(err, n.out.Close())
	}
	return err
}

// Name is "native".
func (n *Native) Name() string { return "native" }

// Run runs the program in a process group of its own, all of which ends with
// ctx.
func (n *Native) Run(ctx context.Context, r *Row, rounds int) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(n.dir, r.Name), strconv.Itoa(rounds))
	cmd.Env = []string{}
	cmd.Stdout = n.out.file
	// The parent whose death is told is the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	start := cmd.Start
	if r.HostOnly {
		start = func() error { return onOneCPU(cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	out, readErr := n.out.take()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &exit) && exit.Exited():
		return nil, failure(exit.ExitCode(), out)
	case err != nil:
		return nil, err
	}
	return out, readErr
}

// onOneCPU runs start with the thread on the CPU where it is, for a child that
// stays there. The goroutine is locked to its thread.
func onOneCPU(start func() error) error {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("stay on one CPU: %w", err)
	}
	cpu, err := sys.CurrentCPU()
	if err == nil {
		err = sys.SetAffinity(0, cpu)
	}
	if err != nil {
		return fmt.Errorf("stay on one CPU: %w", err)
	}
	err = start()
	if e := unix.SchedSetaffinity(0, &before); e != nil {
		return errors.Join(err, fmt.Errorf("leave the one CPU: %w", e))
	}
	return err
}

// output is a file in memory for the standard output of programs: nobody has to
// read while one runs.
type output struct {
	file *os.File
}

func newOutput() (*output, error) {
	fd, err := unix.MemfdCreate("samples", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file for samples: %w", err)
	}
	return &output{file: os.NewFile(uintptr(fd), "samples")}, nil
}

// take returns what has been written, and empties the file.
func (o *output) take() ([]byte, error) {
	size, err := o.file.Seek(0, 1)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := o.file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	if err := o.file.Truncate(0); err != nil {
		return nil, err
	}
	_, err = o.file.Seek(0, 0)
	return b, err
}

func (o *output) Close() error { return o.file.Close() }
