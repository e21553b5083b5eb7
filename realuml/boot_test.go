package realuml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goskas/arch/amd64/asm"
	"goskas/internal/testkit"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// echo prints its second argument, its first variable and its input, and exits
// with the number of its arguments.
func echo(p *program.Program) {
	p.Reserve("text", 64, 16)
	p.Mov(8, asm.RBX, asm.RSP)
	for _, slot := range []int32{2, 4} { // argv[1]; envp[0], behind two arguments and their end
		p.Mov(8, asm.R12, asm.Ptr(asm.RBX, 8*slot))
		p.Sys(unix.SYS_WRITE, 1, asm.R12, 5)
	}
	p.Sys(unix.SYS_READ, 0, program.Label("text"), 64)
	p.Sys(unix.SYS_WRITE, 2, program.Label("text"), asm.RAX)
	p.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 0))
	p.Exit(asm.RBX)
}

func dieOf(sig unix.Signal) func(p *program.Program) {
	return func(p *program.Program) {
		p.Sys(unix.SYS_GETPID)
		p.Sys(unix.SYS_KILL, asm.RAX, int(sig))
		p.Exit(1)
	}
}

func image(t *testing.T, build func(p *program.Program)) []byte {
	t.Helper()
	p := program.New()
	build(p)
	b, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGuestBoot runs programs with all that a configuration has, in everything
// that runs programs.
func TestGuestBoot(t *testing.T) {
	t.Parallel()
	k := need(t)
	skas := command(t)
	c := Config{Args: []string{"/program", "hello"}, Env: []string{"A=bcd"}, Stdin: []byte("input")}
	c.Program = image(t, echo)
	for name, run := range map[string]func() (*Result, error){
		"seccomp": func() (*Result, error) { return k.Boot(deadline(t), c) },
		"ptrace": func() (*Result, error) {
			c := c
			c.Ptrace = true
			return k.Boot(deadline(t), c)
		},
		"native": func() (*Result, error) { return Native(deadline(t), c) },
		"ours": func() (*Result, error) {
			c := c
			c.Env = nil // it has variables of its own
			return Skas(deadline(t), skas, c, "--env", "PATH=bcd")
		},
	} {
		r, err := run()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out := strings.Replace(string(r.Output), "PATH=", "A=bcd", 1)
		if out != "helloA=bcdinput" || r.Status != 2 {
			t.Errorf("%s: status %d, output %q", name, r.Status, r.Output)
		}
	}
}

func TestGuestBootAll(t *testing.T) {
	t.Parallel()
	k := need(t)
	images := [][]byte{image(t, dieOf(unix.SIGTERM)), image(t, func(p *program.Program) {
		p.Print("second\n")
		p.Exit(3)
	}), []byte("no program")}
	results, err := k.BootAll(deadline(t), Config{}, images)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprintf("%d %q", r.Status, r.Output))
	}
	if want := `[143 "" 3 "second\n" 126 ""]`; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestGuestBootInit makes programs process 1, which ends by power-off, by exit
// and by a fault, and wants the trace of the one stub that it had.
func TestGuestBootInit(t *testing.T) {
	t.Parallel()
	testkit.Command(t, "strace")
	k := need(t)
	for _, c := range []struct {
		name   string
		build  func(p *program.Program)
		status int
	}{
		{"power-off", func(p *program.Program) {
			p.Print("hello\n")
			powerOff(p)
		}, 0},
		{"exit", func(p *program.Program) {
			p.Print("hello\n")
			p.Exit(3)
		}, 3},
		{"fault", func(p *program.Program) {
			p.Print("hello\n")
			p.Mov(8, asm.RBX, asm.Imm(nowhere))
			p.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
		}, 128 + int(unix.SIGSEGV)},
	} {
		r, err := k.Boot(deadline(t), Config{Program: image(t, c.build), Init: true, Trace: true})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.Status != c.status || !strings.Contains(string(r.Output), "hello\r\n") || len(r.Stubs) != 1 || !bytes.Contains(r.Stubs[0], []byte("SIGSYS")) {
			t.Errorf("%s: status %d, %d stubs, output %q", c.name, r.Status, len(r.Stubs), r.Output)
		}
	}
}

// TestGuestBootIsEnded wants nothing left of a kernel that was told to end.
func TestGuestBootIsEnded(t *testing.T) {
	t.Parallel()
	testkit.Command(t, "strace")
	k := need(t)
	const memory = defaultMemory + 7<<12 // nobody else has that
	for _, trace := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		spin := image(t, func(p *program.Program) { p.While(func(string) {}) })
		_, err := k.Boot(ctx, Config{Program: spin, Memory: memory, Trace: trace})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("trace %v: the boot ended with %v", trace, err)
		}
		awaitNone(t, fmt.Sprintf("mem=%d", memory))
	}
}

// awaitNone waits until no process has that argument.
func awaitNone(t *testing.T, argument string) {
	t.Helper()
	var left []string
	for range 100 {
		if left = running(t, argument); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("still there: %q", left)
}

// running lists processes with an argument.
func running(t *testing.T, argument string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && bytes.Contains(line, []byte(argument)) { // it may have ended
			found = append(found, string(line))
		}
	}
	return found
}
