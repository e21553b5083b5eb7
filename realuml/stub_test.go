package realuml

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"goskas/internal/testkit"
	"goskas/program"
	"goskas/realuml/trace"
)

// TestGuestStubsMatchRealUML compares what stubs do on the host.
func TestGuestStubsMatchRealUML(t *testing.T) {
	testkit.Command(t, "strace")
	k := need(t)
	skas := command(t)
	for _, c := range stubPrograms {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := program.New()
			c.build(p)
			image, err := p.Build()
			if err != nil {
				t.Fatal(err)
			}
			stubs, err := k.Compare(deadline(t), skas, image)
			if err != nil {
				t.Fatal(err)
			}
			different := 0
			for _, pairs := range stubs {
				different += trace.Differences(pairs)
			}
			switch {
			case different == 0 && c.meant != "":
				t.Logf("no difference any more: take it off the list of those that are meant (%s)", c.meant)
			case different != 0 && c.meant == "":
				k.complain(t)("%d steps differ", different)
			}
			if different == 0 {
				return
			}
			for i, pairs := range stubs {
				var b strings.Builder
				if err := trace.Write(&b, pairs, 100); err != nil {
					t.Fatal(err)
				}
				t.Logf("stub %d:\n%s", i+1, b.String())
			}
		})
	}
}

// TestGuestDiffCommand runs skas diff on a program that is the same in both, and
// on one that is not.
func TestGuestDiffCommand(t *testing.T) {
	testkit.Command(t, "strace")
	need(t)
	skas := command(t)
	for _, c := range []struct {
		name   string
		build  func(*program.Program)
		status int
		says   string
	}{
		{"same", seed, 0, "steps, 0 of them different"},
		{"different", unlike, 1, " | "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := program.New()
			c.build(p)
			file := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(file, p.MustBuild(), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(deadline(t), skas, "diff", file).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			status := 0
			if exit != nil {
				status = exit.ExitCode()
			}
			if status != c.status || !strings.Contains(string(out), c.says) {
				t.Errorf("status %d, want %d and %q:\n%s", status, c.status, c.says, out)
			}
		})
	}
}
