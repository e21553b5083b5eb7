package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// patience is how long anything may take; hosts are busy.
const patience = time.Minute

// process is the built command under test.
type process struct {
	*exec.Cmd
	t      *testing.T
	stdout *lines
	stderr bytes.Buffer
	stdin  io.WriteCloser
}

// start runs path with args until the test ends it or is over.
func start(t *testing.T, path string, attr *syscall.SysProcAttr, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(path, args...), t: t, stdout: newLines()}
	p.Dir, p.SysProcAttr = "/", attr
	p.Stdout, p.Stderr = p.stdout, &p.stderr
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.stdin.Close()
		p.Wait()
	})
	return p
}

// end waits for the process and returns its status as a shell gives it.
func (p *process) end() int {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() {
		p.t.Error("still running")
		p.Process.Signal(unix.SIGQUIT)
	})
	defer timer.Stop()
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if ws := p.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ProcessState.ExitCode()
}

// lines collects output and lets a test wait for part of it. A write never waits
// for the test: who writes much at the end would not get to it.
type lines struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{} // there is something since this was received last
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.all.Write(b)
}

// await waits until want is there.
func (l *lines) await(t *testing.T, want string) {
	t.Helper()
	l.awaitFrom(t, 0, want)
}

// awaitFrom waits until want is there, from a position on, and returns the position
// behind it.
func (l *lines) awaitFrom(t *testing.T, from int, want string) int {
	t.Helper()
	timeout := time.After(patience)
	for {
		text := l.text()
		if i := strings.Index(text[from:], want); i >= 0 {
			return from + i + len(want)
		}
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("no %q behind the first %d bytes of the output:\n%s", want, from, text)
		}
	}
}

// text is what has been written so far.
func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// More output than anybody waits for once kept a test from ending.
func TestLinesNeverKeepTheWriter(t *testing.T) {
	l := newLines()
	for range 5000 {
		l.Write([]byte("x"))
	}
	go l.Write([]byte("end"))
	l.await(t, "end")
	if at := l.awaitFrom(t, 10, "xend"); at != 5003 {
		t.Errorf("ends at %d", at)
	}
}

// gone waits until none of the processes is left.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var left []int
		for _, pid := range pids {
			if alive(t, pid) {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("stubs that live on: %v", left)
		}
	}
}

// alive says that a process still runs. A zombie does not: it waits for
// whoever has inherited it.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	state, err := testkit.State(pid)
	if err != nil {
		t.Fatal(err)
	}
	return state != "" && state != "Z" && state != "X"
}

// crowd starts n processes that live for ever, some busy and some asleep.
const crowd = `
for i in 1 2 3 4 5; do busybox sleep 1000 & done
for i in 1 2 3; do while :; do :; done & done
trap 'echo caught' INT TERM
echo ready
while :; do wait; done`

func TestGuestProcess(t *testing.T) {
	path := buildCommand(t)
	nobodyToo := func(t *testing.T, f func(t *testing.T, attr *syscall.SysProcAttr)) {
		t.Run("as this user", func(t *testing.T) { f(t, nil) })
		if os.Getuid() == 0 {
			t.Run("as an ordinary user", func(t *testing.T) {
				f(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
			})
		}
	}

	t.Run("status and output", func(t *testing.T) {
		nobodyToo(t, func(t *testing.T, attr *syscall.SysProcAttr) {
			p := start(t, path, attr, "run", "--cpus", "2", "--env", "A=b", "--", "busybox", "sh", "-c",
				`cat; echo $A; (echo sub; exit 3) | cat; seq 3 >/tmp/x; md5sum /tmp/x; echo err >&2; exit 42`)
			io.WriteString(p.stdin, "from standard input\n")
			p.stdin.Close()
			if status := p.end(); status != 42 {
				t.Errorf("status %d", status)
			}
			want := "from standard input\nb\nsub\nc0710d6b4f15dfa88f600b0e6b624077  /tmp/x\n"
			if diff := cmp.Diff(want, p.stdout.text()); diff != "" {
				t.Error(diff)
			}
			if got := p.stderr.String(); got != "err\n" {
				t.Errorf("standard error %q", got)
			}
		})
	})

	for _, c := range []struct {
		flags []string
		stubs int
	}{
		{[]string{"--guard", "none", "--cpus", "2"}, 9},
		{[]string{"--guard", "sealed", "--cpus", "2"}, 10}, // and the template
		{[]string{"--mode", "ptrace"}, 9},
		{[]string{"--mode", "ptrace", "--cpus", "2"}, 9},
	} {
		t.Run("SIGKILL leaves no stub, "+strings.Join(c.flags, " "), func(t *testing.T) {
			nobodyToo(t, func(t *testing.T, attr *syscall.SysProcAttr) {
				p := start(t, path, attr, slices.Concat([]string{"run"}, c.flags, []string{"--", "busybox", "sh", "-c", crowd})...)
				p.stdout.await(t, "ready\n")
				stubs := testkit.Children(t, p.Process.Pid)
				// A process that is about to exec has two stubs, one after the other.
				for end := time.Now().Add(time.Minute); len(stubs) != c.stubs; stubs = testkit.Children(t, p.Process.Pid) {
					if time.Now().After(end) {
						t.Fatalf("%d stubs, not %d", len(stubs), c.stubs)
					}
					time.Sleep(10 * time.Millisecond)
				}
				p.Process.Kill()
				p.end()
				gone(t, stubs)
			})
		})
	}

	t.Run("Ctrl-C", func(t *testing.T) {
		for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
			p := start(t, path, nil, "run", "--", "busybox", "sh", "-c", crowd)
			p.stdout.await(t, "ready\n")
			stubs := testkit.Children(t, p.Process.Pid)
			p.Process.Signal(sig)
			p.stdout.await(t, "caught\n")
			p.Process.Signal(sig)
			if status := p.end(); status != 128+int(sig) {
				t.Errorf("status %d after the second %v", status, sig)
			}
			gone(t, stubs)
			if got := p.stderr.String(); !oneLine.MatchString(got) || !strings.Contains(got, "ended by a second signal") {
				t.Errorf("standard error %q", got)
			}
		}
	})

	t.Run("Ctrl-C for a program that does not care", func(t *testing.T) {
		p := start(t, path, nil, "run", "--", "busybox", "sh", "-c", "echo ready; exec busybox sleep 1000")
		p.stdout.await(t, "ready\n")
		p.Process.Signal(unix.SIGINT)
		if status := p.end(); status != 130 {
			t.Errorf("status %d", status)
		}
		if p.stderr.Len() != 0 {
			t.Errorf("standard error %q", p.stderr.String())
		}
	})

	// A stub that inherited the mask would never report a tick.
	t.Run("started with all signals blocked", func(t *testing.T) {
		runtime.LockOSThread() // what is started has this thread's mask
		defer runtime.UnlockOSThread()
		var all, before unix.Sigset_t
		for i := range all.Val {
			all.Val[i] = ^uint64(0)
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
			t.Fatal(err)
		}
		p := start(t, path, nil, "run", "--", "busybox", "sh", "-c", "(while :; do :; done) & i=0; while test $i != 30000; do i=$((i+1)); done; kill $!; echo done")
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
			t.Fatal(err)
		}
		if status := p.end(); status != 0 || p.stdout.text() != "done\n" || p.stderr.Len() != 0 {
			t.Errorf("status %d, output %q, standard error %q", status, p.stdout.text(), p.stderr.String())
		}
	})

	t.Run("killed by a signal", func(t *testing.T) {
		p := start(t, path, nil, "run", "--", "busybox", "sh", "-c", "kill -SEGV $$")
		if status := p.end(); status != 139 {
			t.Errorf("status %d", status)
		}
	})

	t.Run("output closed", func(t *testing.T) {
		p := &process{Cmd: exec.Command(path, "run", "--", "busybox", "yes"), t: t}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p.Stdout = w
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		io.ReadFull(r, make([]byte, 100))
		r.Close()
		if status := p.end(); status != 128+int(unix.SIGPIPE) {
			t.Errorf("status %d", status)
		}
	})
}
