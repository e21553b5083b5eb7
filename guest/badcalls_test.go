package guest_test

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"goskas/guest"
	"goskas/internal/testkit"
)

var (
	badCallSeeds = flag.Int("badcalls", 2, "how many seeds of bad system calls to try")
	badCallSeed  = flag.Int("badcalls-seed", 0, "the first of them")
)

// hostProcess is what a guest's calls might change of the process that serves it,
// if they came through.
func hostProcess(t *testing.T) map[string]string {
	t.Helper()
	state := make(map[string]string)
	var err error
	if state["directory"], err = os.Readlink("/proc/self/cwd"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/proc/self/limits", "/proc/self/personality", "/proc/self/oom_score_adj", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/self/mounts"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		state[name] = string(text)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); slices.Contains([]string{"Umask", "Uid", "Gid", "Groups", "SigIgn", "SigCgt", "CapEff", "CapBnd", "NoNewPrivs", "NSsid", "NSpgid"}, name) {
			state[name] = strings.TrimSpace(value)
		}
	}
	priority, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	state["priority"] = strconv.Itoa(priority)
	return state
}

// Every system call, with arguments that are bad in every way, by one thread and by
// several that take from each other what calls are using: the machine lives, and of
// the host nothing changes but what the guest may change.
func TestGuestLivesThroughBadCalls(t *testing.T) {
	for seed := *badCallSeed; seed < *badCallSeed+*badCallSeeds; seed++ {
		if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { badCalls(t, seed) }) {
			t.Errorf("the same again: go test ./guest -run '^TestGuestLivesThroughBadCalls$' -badcalls 1 -badcalls-seed %d", seed)
		}
	}
}

func badCalls(t *testing.T, seed int) {
	testkit.NoLeaks(t)
	children, calls := 16, 2000
	if testing.Short() {
		children, calls = 5, 1500
	}
	outer := t.TempDir()
	testkit.Plant(t, outer, map[string]string{"sentinel/a": "a", "sentinel/d/b": "b", "sentinel/f": "f", "sentinel/g": "g", "beside/f": "beside", "mine/x": "x"})
	sentinel, beside, mine := filepath.Join(outer, "sentinel"), filepath.Join(outer, "beside"), filepath.Join(outer, "mine")
	t.Cleanup(func() { // guests take permissions from their owner, who is to remove it all
		err := filepath.WalkDir(mine, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() && err == nil {
				return os.Chmod(path, 0o700)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	state := func() []map[string]string {
		return []map[string]string{testkit.Tree(t, sentinel), testkit.Tree(t, beside), hostProcess(t)}
	}
	m := start(t, guest.Config{CPUs: 2, Memory: 128 << 20, Dir: "/run/mine", Files: map[string][]byte{"badcalls": compile(t, "badcalls")},
		Binds: []guest.Bind{{Host: sentinel, Guest: "/run/sentinel"}, {Host: mine, Guest: "/run/mine", Write: true}}})
	m.fill("")
	before := state()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	want := ""
	m.calm(t, func() {
		for _, dir := range []string{"/run/mine", "/run/sentinel", "/tmp"} {
			for _, threads := range []int{1, 4} {
				n := children / threads
				status, err := m.Run(ctx, "/bin/sh", []string{"sh", "-c", `cd "$0" && exec "$@"`, dir, "/toy/badcalls",
					strconv.Itoa(seed), strconv.Itoa(n), strconv.Itoa(threads), strconv.Itoa(calls)}, []string{"PATH=/bin"})
				if status != 0 || err != nil {
					t.Errorf("%d threads in %s: status %d, %v", threads, dir, status, err)
				}
				want += fmt.Sprintf("%d children\n", n)
			}
		}
	})
	if status, err := m.Run(ctx, "/bin/sh", []string{"sh", "-c", "echo alive"}, nil); status != 0 || err != nil {
		t.Errorf("afterwards: status %d, %v", status, err)
	}
	tried := m.Stats().Calls
	if all := len(guest.Syscalls()); len(tried) < all*9/10 {
		t.Errorf("%d of %d system calls were tried", len(tried), all)
	}
	if diff := cmp.Diff(want+"alive\n", m.out()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("the host has changed:\n%s", diff)
	}
	names, err := filepath.Glob(filepath.Join(outer, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{beside, mine, sentinel}, names); diff != "" {
		t.Errorf("beside what the guest may see:\n%s", diff)
	}
	total := uint64(0)
	for _, n := range tried {
		total += n
	}
	t.Logf("%d calls, %d of them there", total, len(tried))
}
