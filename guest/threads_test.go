package guest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"goskas/guest"
	"goskas/internal/testguest"
	"goskas/internal/testkit"
)

// What threads do may not depend on how many vCPUs run them.
func TestGuestThreadsAsOnHost(t *testing.T) {
	testkit.NoLeaks(t)
	for _, cpus := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d vCPUs", cpus), func(t *testing.T) {
			asOnHost(t, guest.Config{CPUs: cpus}, "threads")
		})
	}
}

func TestGuestSignalsAsOnHost(t *testing.T) {
	for _, name := range []string{"signals", "cputimers", "futexes"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they sleep
			asOnHost(t, guest.Config{CPUs: 2}, name)
		})
	}
}

// goBuild compiles a Go program of testdata, without the C library.
func goBuild(t *testing.T, name string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	build := exec.Command(testkit.Command(t, "go"), "build", "-o", out, "./"+filepath.Join("testdata", name))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, msg)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Goroutines, garbage collection, timers and signals of the Go runtime.
func TestGuestGoProgramAsOnHost(t *testing.T) {
	files := map[string][]byte{"goroutines": goBuild(t, "goroutines")}
	argv := []string{"goroutines"}
	want := testguest.OnHost(t, files, argv, nil)
	for _, cpus := range []int{1, 2} {
		got, _ := testguest.InGuest(t, guest.Config{CPUs: cpus, Files: files}, argv, nil)
		if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
			t.Errorf("%d vCPUs: host (-) and guest (+) differ:\n%s", cpus, diff)
		}
	}
}

// threaded are commands of the host that start threads or processes; $P is the
// program.
var threaded = []struct {
	name   string
	needs  string
	script string
}{
	{"go version", "go", `GOTOOLCHAIN=local $P version`},
	{"python threading", "/usr/bin/python3", `$P -c '
import threading, queue
q, out, lock = queue.Queue(), [], threading.Lock()
def work():
    while (n := q.get()) is not None:
        with lock: out.append(n * n)
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]
[q.put(i) for i in range(500)]
[q.put(None) for _ in ts]
[t.join() for t in ts]
e = threading.Event()
threading.Timer(0.05, e.set).start()
print(sorted(out)[-3:], len(out), e.wait(30), e.wait(0.001), threading.active_count() <= 2)'`},
	{"python subprocess", "/usr/bin/python3", `$P -c '
import subprocess, signal
print(subprocess.run(["/bin/busybox", "seq", "3"], capture_output=True, text=True))
p = subprocess.Popen(["/bin/busybox", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(p.communicate(b"x" * 100000)[0] == b"x" * 100000, p.returncode)
p = subprocess.Popen(["/bin/busybox", "sleep", "100"]); p.send_signal(signal.SIGTERM); print(p.wait())
try: subprocess.run(["/bin/busybox", "sleep", "100"], timeout=0.05)
except subprocess.TimeoutExpired: print("timeout")
try: subprocess.run(["/nonexistent"])
except FileNotFoundError as e: print(e)'`},
	{"python unittest", "/usr/bin/python3", `cd $W; printf 'import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(1+1, 2)\n    def test_b(self): self.assertRaises(ZeroDivisionError, lambda: 1/0)\n' >test_x.py; $P -m unittest -v test_x 2>&1 | grep -v ^Ran`},
}

func TestGuestThreadedCommandsAsOnHost(t *testing.T) {
	testkit.NoLeaks(t)
	for _, s := range threaded {
		t.Run(s.name, func(t *testing.T) {
			// Without links that a search of the guest's PATH would not find.
			path, err := filepath.EvalSymlinks(testkit.Command(t, s.needs))
			if err != nil {
				t.Fatal(err)
			}
			script := "P=" + path + "; " + s.script
			want := onHost(t, script, "")
			if want.Status != 0 {
				t.Fatalf("on the host: status %d, %s", want.Status, want.Out)
			}
			got := sh(t, guest.Config{CPUs: 2}, "W=/tmp; "+script, "")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("host (-) and guest (+) differ:\n%s", diff)
			}
		})
	}
}
