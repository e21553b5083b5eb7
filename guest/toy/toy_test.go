package toy_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/guest/toy"
	"goskas/internal/testguest"
	"goskas/internal/testkit"
	"goskas/program"

	"github.com/google/go-cmp/cmp"
)

// What differs between runs: numbers of processes, shares and switches.
var (
	pids   = regexp.MustCompile(`(process|processes|and) \d+`)
	shares = regexp.MustCompile(`did (\d+) % of the work; the CPU was taken from it \d+ times`)
)

func normal(out string) string {
	out = pids.ReplaceAllString(out, "$1 P")
	return shares.ReplaceAllString(out, "did N % of the work; the CPU was taken from it N times")
}

// checkShares tells whether preempt's two processes both got somewhere. How
// fair that was is the business of TestGuestSharesCPU; other programs of the
// host compete with two vCPUs.
func checkShares(t *testing.T, out string) {
	t.Helper()
	sum := 0
	for _, m := range shares.FindAllStringSubmatch(out, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil || n == 0 {
			t.Errorf("a share of %q %%", m[1])
		}
		sum += n
	}
	if sum < 99 || sum > 101 { // each is rounded
		t.Errorf("the shares add up to %d %%", sum)
	}
}

// The demonstrations say the same with any number of vCPUs, with little memory,
// and on the host.
func TestGuestBoot(t *testing.T) {
	golden := filepath.Join("testdata", "boot.golden")
	argv := []string{toy.Init}
	check := func(t *testing.T, got testguest.Result) {
		t.Helper()
		checkShares(t, got.Out)
		got.Out = normal(got.Out)
		testkit.Golden(t, golden, got.Out)
		if diff := cmp.Diff(testguest.Result{Out: got.Out}, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, c := range []struct {
		name string
		cfg  guest.Config
	}{
		{"1 vCPU", guest.Config{}},
		{"2 vCPUs", guest.Config{CPUs: 2}},
		{"1 MiB", guest.Config{Memory: 1 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Files = toy.Programs()
			got, stats := testguest.InGuest(t, c.cfg, argv, nil)
			check(t, got)
			if s := stats.Skas; s.StubStarts != s.StubDeaths || s.Refused != 0 {
				t.Errorf("%d stubs started, %d ended, %d refused", s.StubStarts, s.StubDeaths, s.Refused)
			}
			if stats.Ticks == 0 || stats.CowFaults == 0 || len(stats.Unknown) > 0 {
				t.Errorf("%d ticks, %d copies, unknown calls %v", stats.Ticks, stats.CowFaults, stats.Unknown)
			}
		})
	}
	t.Run("on the host", func(t *testing.T) {
		check(t, testguest.OnHost(t, toy.Programs(), argv, nil))
	})
}

// A demonstration that fails is reported, and fails the boot.
func TestGuestBootReportsFailures(t *testing.T) {
	exits := program.New()
	exits.Exit(3)
	crashes := program.New()
	crashes.Mov(8, asm.RAX, asm.Imm(0))
	crashes.JmpTo(asm.RAX)
	files := maps.Clone(toy.Programs())
	files["cow"], files["pipe"] = exits.MustBuild(), crashes.MustBuild()
	delete(files, "preempt")

	got, _ := testguest.InGuest(t, guest.Config{Files: files}, []string{toy.Init}, nil)
	if got.Status != 1 || !strings.Contains(got.Out, "\n3 demonstrations failed.\n") {
		t.Errorf("status %d, output:\n%s", got.Status, got.Out)
	}
	for _, status := range []int{3 << 8, 11, 99 << 8} {
		if want := fmt.Sprintf("FAILED with wait status %d\n", status); !strings.Contains(got.Out, want) {
			t.Errorf("no %q in:\n%s", want, got.Out)
		}
	}
}
