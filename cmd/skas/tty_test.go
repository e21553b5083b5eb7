package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: what is written to ptm is typed, what is read
// from it is on the screen.
type terminal struct {
	t        *testing.T
	ptm, pts *os.File
	screen   *lines
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(ptm.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	pts, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(pts.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t, ptm, pts, newLines()}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := ptm.Read(buf)
			if n > 0 {
				term.screen.Write(buf[:n])
			}
			if err != nil { // EIO: the last user of the terminal is gone
				return
			}
		}
	}()
	t.Cleanup(func() {
		pts.Close()
		<-read
		ptm.Close()
	})
	return term
}

// run starts path in the foreground of the terminal.
func (term *terminal) run(path string, args ...string) *process {
	term.t.Helper()
	p := &process{Cmd: exec.Command(path, args...), t: term.t}
	p.Stdin, p.Stdout, p.Stderr = term.pts, term.pts, term.pts
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := p.Start(); err != nil {
		term.t.Fatal(err)
	}
	term.t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	return p
}

func (term *terminal) enter(keys string) {
	term.t.Helper()
	if _, err := term.ptm.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

func TestGuestOnTerminal(t *testing.T) {
	path := buildCommand(t)

	t.Run("size and kind", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--", "busybox", "sh", "-c", "test -t 0 && test -t 1 && echo tty; stty size; echo out; echo err >&2")
		term.screen.await(t, "tty\r\n33 77\r\nout\r\nerr\r\n")
		if status := p.end(); status != 0 {
			t.Errorf("status %d", status)
		}
	})

	t.Run("an interactive shell", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--env", "PS1=ready> ", "--", "busybox", "sh", "-i")
		term.screen.await(t, "ready> ")
		term.enter("echo $((6*7))\n")
		term.screen.await(t, "\n42\r\n")
		// Ctrl-C ends what runs in the foreground, not the shell, however
		// often.
		for i := range 3 {
			from := len(term.screen.text())
			term.enter("busybox sleep 1000\n")
			term.screen.awaitFrom(t, from, "sleep 1000\r\n")
			term.cooked()
			time.Sleep(300 * time.Millisecond) // either moment must do
			term.enter("\x03")
			term.enter(fmt.Sprintf("echo %d status $?\n", i))
			term.screen.await(t, fmt.Sprintf("\n%d status 130\r\n", i))
		}
		// A job in the background, and end of file.
		term.enter("busybox sleep 0.1 & wait; echo waited\n")
		term.screen.await(t, "\nwaited\r\n")
		term.enter("exit 9\n")
		if status := p.end(); status != 9 {
			t.Errorf("status %d; screen:\n%s", status, term.screen.text())
		}
	})

	t.Run("end of file", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--", "busybox", "sh", "-c", "busybox cat; echo over")
		term.enter("line\n")
		term.screen.await(t, "line\r\nline\r\n")
		term.enter("\x04")
		term.screen.await(t, "over\r\n")
		if status := p.end(); status != 0 {
			t.Errorf("status %d", status)
		}
	})

	t.Run("raw mode", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--", "busybox", "sh", "-c",
			"stty -icanon -echo min 1; echo ready; busybox head -c 3 | busybox od -An -c; stty sane; stty -a | grep -c -e ' icanon'")
		term.screen.await(t, "ready\r\n")
		term.enter("a\x7f~") // no end of line
		term.screen.await(t, " a 177   ~\r\n1\r\n")
		if status := p.end(); status != 0 {
			t.Errorf("status %d", status)
		}
		if strings.Contains(term.screen.text(), "a\x7f~") {
			t.Errorf("the keys are on the screen: %q", term.screen.text())
		}
	})

	t.Run("an editor", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--env", "TERM=linux", "--", "busybox", "sh", "-c", "busybox vi /tmp/f; echo; md5sum </tmp/f")
		term.screen.await(t, "/tmp/f")
		term.enter("ihello\x1b")
		term.screen.await(t, "- /tmp/f [Modified]") // vi reads an escape alone only after a pause
		term.enter(":wq\r")
		term.screen.await(t, "b1946ac92492d2347c6235b4d2611184  -\r\n") // of "hello\n"
		if status := p.end(); status != 0 {
			t.Errorf("status %d", status)
		}
	})

	t.Run("a second Ctrl-C", func(t *testing.T) {
		term := newTerminal(t)
		p := term.run(path, "run", "--", "busybox", "sh", "-c", "trap 'echo caught' INT; stty -echo; echo ready; while :; do :; done")
		term.screen.await(t, "ready\r\n")
		term.enter("\x03")
		term.screen.await(t, "caught\r\n")
		term.enter("\x03")
		if status := p.end(); status != 130 {
			t.Errorf("status %d", status)
		}
		term.screen.await(t, "skas: ended by a second signal\r\n")
	})
}
