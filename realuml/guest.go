package realuml

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// GuestConfig is a guest that stays up.
type GuestConfig struct {
	// Files are placed in the guest's root, executable; the names may have
	// slashes.
	Files map[string][]byte
	// Ptrace is UML's other mode, seccomp=off.
	Ptrace bool
	// Memory is the guest's, in bytes; 0 means 64 MiB.
	Memory int64
}

// Guest is a real UML that runs one program after the other. Its methods may be
// called from one goroutine at a time.
type Guest struct {
	dir     string
	input   *os.File // the console's
	output  *os.File
	console *bufio.Reader // of output
	group   int           // process group of the kernel

	ended chan struct{} // closed when the kernel is gone; then
	state *os.ProcessState
}

// Start boots a guest. It is up when Start returns, and is to be closed.
func (k *Kernel) Start(ctx context.Context, c GuestConfig) (_ *Guest, err error) {
	// uml_dir holds a socket, whose path has to be short.
	dir, err := os.MkdirTemp("", "uml")
	if err != nil {
		return nil, err
	}
	g := &Guest{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	root := filepath.Join(dir, "root")
	if err := c.layOut(root); err != nil {
		return nil, err
	}
	if err := g.start(k, k.arguments(dir, root, c.Ptrace, c.Memory, "con0=fd:0,fd:1")); err != nil {
		return nil, fmt.Errorf("run User Mode Linux: %w", err)
	}
	if _, _, err := g.read(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

func (c GuestConfig) layOut(root string) error {
	if err := makeRoot(root); err != nil {
		return err
	}
	init, err := attendant()
	if err != nil {
		return err
	}
	files := map[string][]byte{"init": init}
	for name, b := range c.Files {
		files[name] = b
	}
	for name, b := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// start starts the kernel with pipes for a console.
func (g *Guest) start(k *Kernel, args []string) error {
	theirInput, input, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirInput.Close()
	g.input = input
	output, theirOutput, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirOutput.Close()
	g.output, g.console = output, bufio.NewReader(output)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = k.dir // the loader's path is relative to it
	cmd.Env = []string{"HOME=" + g.dir, "PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + k.dir}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirInput, theirOutput, theirOutput
	// A terminal's Ctrl-C is for us, who then end the guest.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		// The parent whose death is told is this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in the state
			g.state = cmd.ProcessState
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	g.group, g.ended = cmd.Process.Pid, ended
	return nil
}

// Run runs a program of the guest's root, whose arguments, the first of which is
// its path, are words without spaces. It returns what the program wrote to its
// standard output and error, and its exit status, or 128 plus the signal that
// ended it. After an error the guest can only be closed.
func (g *Guest) Run(ctx context.Context, words ...string) ([]byte, int, error) {
	line := strings.Join(words, " ")
	if len(words) == 0 || len(words) > maxWords || len(line) >= maxLine || len(strings.Fields(line)) != len(words) {
		return nil, 0, fmt.Errorf("run in User Mode Linux: %q is no command", line)
	}
	if _, err := g.input.WriteString(line + "\n"); err != nil {
		return nil, 0, fmt.Errorf("run in User Mode Linux: %w", err)
	}
	return g.read(ctx)
}

// read takes in what the console says up to the next answer of the attendant.
func (g *Guest) read(ctx context.Context) ([]byte, int, error) {
	stop := context.AfterFunc(ctx, g.kill)
	defer stop()
	var out []byte
	for {
		line, err := g.console.ReadBytes('\n')
		before, status, ok := bytes.Cut(line, []byte(answer))
		out = append(out, before...)
		switch {
		case ctx.Err() != nil:
			return nil, 0, fmt.Errorf("run User Mode Linux: %w; its console:\n%s", context.Cause(ctx), shorten(out))
		case err != nil:
			g.kill() // it may hang with its console closed
			<-g.ended
			return nil, 0, fmt.Errorf("run User Mode Linux: it ended with %v; its console:\n%s", g.state, shorten(out))
		case ok:
			n, err := strconv.ParseUint(string(bytes.TrimSpace(status)), 10, 32)
			if err != nil {
				return nil, 0, fmt.Errorf("run in User Mode Linux: a program's wait status: %w", err)
			}
			return out, shellStatus(unix.WaitStatus(n)), nil
		}
	}
}

// shorten keeps the end of what a console said.
func shorten(out []byte) []byte {
	const enough = 4096
	return out[max(0, len(out)-enough):]
}

// kill ends the kernel; its stubs die with it.
func (g *Guest) kill() {
	select {
	case <-g.ended: // the number may be somebody else's by now
	default:
		_ = unix.Kill(-g.group, unix.SIGKILL) // it may be ending by itself
	}
}

// Close ends the guest and removes its files.
func (g *Guest) Close() error {
	if g.ended != nil {
		g.kill()
		<-g.ended
	}
	var errs []error
	for _, f := range slices.DeleteFunc([]*os.File{g.input, g.output}, func(f *os.File) bool { return f == nil }) {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}
