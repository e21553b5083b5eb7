package realuml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// TestGuestStaysUp runs programs in one guest, one after the other.
func TestGuestStaysUp(t *testing.T) {
	t.Parallel()
	k := need(t)
	files := map[string][]byte{
		// Prints its second argument, and exits with their number.
		"bin/echo": image(t, func(p *program.Program) {
			p.Mov(8, asm.RBX, asm.RSP)
			p.Mov(8, asm.R12, asm.Ptr(asm.RBX, 16))
			p.Sys(unix.SYS_WRITE, 1, asm.R12, 3)
			p.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 0))
			p.Exit(asm.RBX)
		}),
		"die": image(t, dieOf(unix.SIGTERM)),
		// Longer than what a console takes at once.
		"long": image(t, func(p *program.Program) {
			p.Loop(asm.R12, 2000, func() { p.Print("0123456789abcdef\n") })
			p.Exit(0)
		}),
	}
	for _, ptrace := range []bool{false, true} {
		g, err := k.Start(deadline(t), GuestConfig{Files: files, Ptrace: ptrace})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range []string{"/bin/echo abc", "/die", "/bin/echo xyz 4 5", "/nowhere", "/long"} {
			out, status, err := g.Run(deadline(t), strings.Fields(line)...)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if line == "/long" {
				if want := strings.Repeat("0123456789abcdef\n", 2000); string(out) != want {
					t.Errorf("%d bytes of output came out as %d", len(want), len(out))
				}
				out = nil
			}
			got = append(got, fmt.Sprintf("%q %d", out, status))
		}
		if want := `["abc" 2 "" 143 "xyz" 4 "" 126 "" 0]`; fmt.Sprint(got) != want {
			t.Errorf("ptrace %v: %v, want %s", ptrace, got, want)
		}
		for _, bad := range [][]string{nil, {"/die", "a b"}, {"/die", ""}, {strings.Repeat("x", maxLine)}, strings.Fields(strings.Repeat("x ", maxWords+1))} {
			if _, _, err := g.Run(deadline(t), bad...); err == nil {
				t.Errorf("%.40q was taken for a command", bad)
			}
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %s (%v)", g.dir, err)
		}
	}
}

// TestGuestIsEnded wants nothing left of guests that are told to end while a
// program runs.
func TestGuestIsEnded(t *testing.T) {
	t.Parallel()
	k := need(t)
	const memory = defaultMemory + 9<<12 // nobody else has that
	files := map[string][]byte{"spin": image(t, func(p *program.Program) { p.While(func(string) {}) })}
	for _, ptrace := range []bool{false, true} {
		g, err := k.Start(deadline(t), GuestConfig{Files: files, Ptrace: ptrace, Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, _, err = g.Run(ctx, "/spin")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ptrace %v: the run ended with %v", ptrace, err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		awaitNone(t, fmt.Sprintf("mem=%d", memory))
	}
}
