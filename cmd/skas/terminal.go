package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"goskas/guest"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// hostTerminal is the terminal that skas was started on, in raw mode: every key
// goes to the guest, whose own terminal makes lines and signals of them.
//
// It has to get its modes back whatever happens. A restorer, a child process,
// waits for the end of a pipe that this process holds: if that comes before a
// byte that says that all is well, this process is gone in some other way, a
// panic or SIGKILL, say, and the restorer puts the modes back.
type hostTerminal struct {
	saved    unix.Termios
	restorer *exec.Cmd
	pipe     *os.File
}

// newHostTerminal checks that both files are a terminal and takes it over.
func newHostTerminal(in, out *os.File) (*hostTerminal, error) {
	h := new(hostTerminal)
	for _, f := range []*os.File{in, out} {
		modes, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--tty: %s is not a terminal; leave -t out", f.Name())}
		}
		if f == in {
			h.saved = *modes
		}
	}
	if err := h.startRestorer(in); err != nil {
		return nil, &exitError{exitSelf, fmt.Errorf("start what restores the terminal: %w", err)}
	}
	if _, err := term.MakeRaw(int(in.Fd())); err != nil {
		h.restore(in)
		return nil, &exitError{exitSelf, fmt.Errorf("put the terminal into raw mode: %w", err)}
	}
	return h, nil
}

func (h *hostTerminal) startRestorer(in *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	h.restorer = exec.Command(self, restorerName)
	h.restorer.Stdin, h.restorer.ExtraFiles = in, []*os.File{r}
	// A process group of its own: what is meant for ours must not end it.
	h.restorer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.restorer.Start(); err != nil {
		w.Close()
		return err
	}
	h.pipe = w
	return binary.Write(w, binary.NativeEndian, &h.saved)
}

// restore gives the terminal back.
func (h *hostTerminal) restore(in *os.File) {
	_ = setModes(int(in.Fd()), &h.saved)
	_, _ = h.pipe.Write([]byte{0})
	h.pipe.Close()
	_ = h.restorer.Wait()
}

// setModes also works from the background.
func setModes(fd int, modes *unix.Termios) error {
	signal.Ignore(unix.SIGTTOU)
	return unix.IoctlSetTermios(fd, unix.TCSETSW, modes)
}

// restorerName is a command for skas itself.
const restorerName = "restore-terminal"

func newRestorer() *cobra.Command {
	return &cobra.Command{
		Use:    restorerName,
		Short:  "wait for the end of skas run -t and restore the terminal",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM, unix.SIGTSTP, unix.SIGTTOU, unix.SIGTTIN)
			pipe := os.NewFile(3, "pipe")
			if pipe == nil {
				return &exitError{exitUsage, fmt.Errorf("%s is for skas run -t alone", restorerName)}
			}
			var modes unix.Termios
			if err := binary.Read(pipe, binary.NativeEndian, &modes); err != nil {
				return &exitError{exitUsage, fmt.Errorf("%s is for skas run -t alone", restorerName)}
			}
			rest, err := io.ReadAll(pipe)
			if err != nil || len(rest) > 0 {
				return nil
			}
			return setModes(0, &modes)
		},
	}
}

// hangupTime is how long the guest may take to end once its terminal is gone.
const hangupTime = 2 * time.Second

// followTerminal tells the guest of changes of the window, and hangs its
// terminal up when skas is asked to end: then that, which detach returns, is what
// has ended the run.
func followTerminal(k *guest.Kernel, in *os.File, cancel context.CancelCauseFunc) (detach func() error) {
	resize := func() {
		if ws, err := unix.IoctlGetWinsize(int(in.Fd()), unix.TIOCGWINSZ); err == nil {
			k.Resize(int(ws.Row), int(ws.Col))
		}
	}
	ch := make(chan os.Signal, 4)
	done := make(chan error, 1)
	signal.Notify(ch, unix.SIGWINCH, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	resize()
	go func() {
		var why error
		var timer *time.Timer
		for s := range ch {
			if s == unix.SIGWINCH {
				resize()
				continue
			}
			k.Hangup()
			// A shell saves its history now; whoever holds on is ended.
			ended := &exitError{128 + int(s.(unix.Signal)), nil}
			if why = ended; timer == nil {
				timer = time.AfterFunc(hangupTime, func() { cancel(ended) })
			}
		}
		if timer != nil {
			timer.Stop()
		}
		done <- why
	}()
	return func() error {
		signal.Stop(ch)
		close(ch)
		return <-done
	}
}
