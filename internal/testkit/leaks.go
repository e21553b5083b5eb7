package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// patience is how long what is being given back may take; hosts are busy.
const patience = 10 * time.Second

// holdings is what a process has of the host.
type holdings struct {
	// FDs maps each descriptor to what it is open on.
	FDs        map[string]string
	Children   []int
	Goroutines int
}

// NoLeaks notes the process's descriptors, children and goroutines, and fails
// the test if there are others at its end, after all cleanups registered later.
func NoLeaks(t testing.TB) {
	t.Helper()
	// The runtime opens its poller's descriptors with the first pipe, for ever.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	before := held(t)
	t.Cleanup(func() {
		var diff string
		for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			after := held(t)
			// A goroutine may have been on its way out at the start.
			if after.Goroutines < before.Goroutines {
				after.Goroutines = before.Goroutines
			}
			if diff = cmp.Diff(before, after); diff == "" {
				return
			}
		}
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		t.Errorf("the test did not leave things as it found them, before (-), after (+):\n%s\n%s", diff, stacks)
	})
}

func held(t testing.TB) holdings {
	t.Helper()
	h := holdings{FDs: make(map[string]string), Children: Children(t, os.Getpid()), Goroutines: runtime.NumGoroutine()}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == fmt.Sprint(dir.Fd()) {
			continue
		}
		if to, err := os.Readlink("/proc/self/fd/" + name); err == nil {
			h.FDs[name] = to
		}
	}
	return h
}

// Children lists the processes whose parent is pid, zombies included.
func Children(t testing.TB, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, path := range stats {
		var child int
		fmt.Sscanf(path, "/proc/%d/stat", &child)
		if _, parent, err := stat(child); err != nil {
			t.Fatal(err)
		} else if parent == pid {
			out = append(out, child)
		}
	}
	return out
}

// State is a process's state letter, or "" if there is no such process.
func State(pid int) (string, error) {
	state, _, err := stat(pid)
	return state, err
}

// stat reads what it returns of /proc/pid/stat; nothing if pid is gone.
func stat(pid int) (state string, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	// proc_pid_stat(5): pid (comm) state ppid; comm may hold anything.
	shut := strings.LastIndexByte(string(text), ')')
	if _, err := fmt.Sscan(string(text[shut+1:]), &state, &parent); err != nil {
		return "", 0, fmt.Errorf("/proc/%d/stat is %q: %w", pid, text, err)
	}
	return state, parent, nil
}
