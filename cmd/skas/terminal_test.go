package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// modes are those of the terminal now.
func (term *terminal) modes() unix.Termios {
	term.t.Helper()
	m, err := unix.IoctlGetTermios(int(term.pts.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return *m
}

// awaitModes waits until the terminal's modes are as they should be.
func (term *terminal) awaitModes(should string, be func(unix.Termios) bool) {
	term.t.Helper()
	for end := time.Now().Add(patience); !be(term.modes()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			term.t.Fatalf("the modes of the terminal are %+v, and should %s", term.modes(), should)
		}
	}
}

// restored waits until the terminal has the modes that it had.
func (term *terminal) restored(was unix.Termios) {
	term.t.Helper()
	term.awaitModes(fmt.Sprintf("be %+v", was), func(m unix.Termios) bool { return m == was })
}

// cooked waits until the terminal makes signals and lines of what is typed: a shell
// that reads commands takes all keys by itself.
func (term *terminal) cooked() {
	term.t.Helper()
	term.awaitModes("make lines and signals", func(m unix.Termios) bool {
		return m.Lflag&unix.ICANON != 0 && m.Lflag&unix.ISIG != 0 && m.Cc[unix.VINTR] == 3
	})
}

// shell starts an interactive bash on a terminal and waits for its prompt.
func shell(t *testing.T, path string, args ...string) (*terminal, *process, unix.Termios) {
	t.Helper()
	term := newTerminal(t)
	was := term.modes()
	args = append([]string{"run", "-it", "--env", "PS1=ready> ", "--env", "HOME=/tmp", "--env", "TERM=dumb"}, args...)
	p := term.run(path, append(args, "--", "/bin/bash", "--norc", "--noprofile", "-i")...)
	term.screen.await(t, "ready> ")
	return term, p, was
}

func TestGuestShellOnItsOwnTerminal(t *testing.T) {
	path := buildCommand(t)

	t.Run("a session", func(t *testing.T) {
		term, p, was := shell(t, path)
		if term.modes() == was {
			t.Error("the host's terminal is not in raw mode")
		}
		// answer types keys and waits for what comes on the screen from then on, in
		// this order. Nothing is typed ahead.
		answer := func(keys string, want ...string) {
			t.Helper()
			from := len(term.screen.text())
			term.enter(keys)
			for _, w := range want {
				from = term.screen.awaitFrom(t, from, w)
			}
		}
		const prompt = "ready> "
		answer("echo $((6*7))\r", "\n42\r\n", prompt)
		answer("tty; test -t 0 -a -t 1 -a -t 2 && echo all; stty size\r", "\n/dev/pts/0\r\nall\r\n33 77\r\n", prompt)
		answer("stty -a | grep -o ' icanon'; echo to tty >/dev/tty\r", "\n icanon\r\nto tty\r\n", prompt)
		// Ctrl-C ends what runs in the foreground.
		for range 2 {
			answer("sleep 1000\r", "sleep 1000\r\n")
			time.Sleep(300 * time.Millisecond) // either moment must do
			answer("\x03", prompt)
			answer("echo status $?\r", "\nstatus 130\r\n", prompt)
		}
		// Ctrl-Z stops it; jobs are the guest's.
		answer("echo up; cat\r", "\nup\r\n") // by then keys are not the shell's
		answer("one\r", "one\r\none\r\n")
		answer("\x1a", "^Z", "Stopped", prompt)
		answer("jobs\r", "[1]+  Stopped                 cat\r\n", prompt)
		answer("fg\r", "\ncat\r\n")
		time.Sleep(300 * time.Millisecond)
		answer("two\r", "two\r\ntwo\r\n")
		answer("\x04", prompt)
		answer("echo cat gave $?\r", "\ncat gave 0\r\n", prompt)
		// In the background nobody reads.
		answer("cat & until jobs -s | grep S; do :; done; kill %1; wait; echo waited\r", "Stopped", "\nwaited\r\n", prompt)
		// The window.
		if err := unix.IoctlSetWinsize(int(term.pts.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 11, Col: 22}); err != nil {
			t.Fatal(err)
		}
		answer("until test \"$(stty size)\" = '11 22'; do :; done; echo\r", "\r\n\r\n", prompt)
		term.enter("exit 9\r")
		if status := p.end(); status != 9 {
			t.Errorf("status %d; screen:\n%s", status, term.screen.text())
		}
		term.restored(was)
	})

	t.Run("end of file ends the shell", func(t *testing.T) {
		term, p, was := shell(t, path)
		from := len(term.screen.text())
		term.enter("false\r")
		// Typed ahead, it may end a line of false's and not be the shell's.
		from = term.screen.awaitFrom(t, from, "false\r\n")
		term.screen.awaitFrom(t, from, "ready> ")
		term.enter("\x04")
		if status := p.end(); status != 1 {
			t.Errorf("status %d", status)
		}
		term.restored(was)
	})

	// However skas ends, the terminal is as it was. SIGKILL stands for all that it
	// cannot handle, SIGABRT for a panic, which ends a Go program likewise.
	for _, c := range []struct {
		sig    syscall.Signal
		status int
	}{{unix.SIGTERM, 143}, {unix.SIGHUP, 129}, {unix.SIGKILL, 137}, {unix.SIGABRT, 2}, {unix.SIGQUIT, 131}} {
		t.Run(c.sig.String(), func(t *testing.T) {
			term, p, was := shell(t, path)
			term.enter("trap '' HUP; sleep 1000\r")
			term.screen.await(t, "sleep 1000\r\n")
			if err := p.Process.Signal(c.sig); err != nil {
				t.Fatal(err)
			}
			if status := p.end(); status != c.status {
				t.Errorf("status %d; want %d", status, c.status)
			}
			term.restored(was)
		})
	}
}

func TestGuestTerminalNeedsOne(t *testing.T) {
	path := buildCommand(t)
	cmd := exec.Command(path, "run", "-it", "--", "/bin/true")
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitUsage {
		t.Errorf("status %d (%v)", cmd.ProcessState.ExitCode(), err)
	}
	const want = "skas: --tty: /dev/stdin is not a terminal; leave -t out\n"
	if string(out) != want {
		t.Errorf("said %q, want %q", out, want)
	}
}
