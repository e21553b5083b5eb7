package guest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest"
	"goskas/internal/testkit"
)

// A stub killed at any moment takes its own process along, and nothing else:
// the parent sees a death by SIGSEGV, and the others finish with the right
// results.
func TestGuestKilledStubTakesOnlyItsProcess(t *testing.T) {
	const workers = 30
	for _, c := range []struct {
		name, work string
		cpus       int
	}{
		{"computing", `i=0; s=0; while [ $i -lt 3000 ]; do i=$((i+1)); s=$((s+i)); done; echo done $1 $s`, 1},
		{"computing on 2 vCPUs", `i=0; s=0; while [ $i -lt 3000 ]; do i=$((i+1)); s=$((s+i)); done; echo done $1 $s`, 2},
		// A worker whose own child was hit says so.
		{"forking", `i=0; s=0; while [ $i -lt 8 ]; do i=$((i+1)); s=$((s+i)); (exit 9); [ $? = 9 ] || exit 55; done; echo done $1 $s`, 2},
		{"running programs", `i=0; s=0; while [ $i -lt 4 ]; do i=$((i+1)); s=$((s+i)); /bin/busybox true || exit 55; done; echo done $1 $s`, 2},
		{"asleep", `sleep 2; echo done $1 0`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := boot(t, guest.Config{CPUs: c.cpus})
			m.calm(t, func() {
				before := m.Stats()
				others := testkit.Children(t, os.Getpid())
				done := make(chan int)
				go func() {
					done <- m.sh(t, fmt.Sprintf(`
						work() { %s; }
						exec 2>/dev/null # the shell's "Segmentation fault"
						pids=
						for n in $(seq %d); do work $n & pids="$pids $!"; done
						n=0
						for p in $pids; do n=$((n+1)); wait $p; echo status $n $?; done`, c.work, workers))
				}()
				var status int
				m.killed, status = killStubs(t, others, done)
				if status != 0 {
					t.Errorf("the shell's status is %d", status)
				}
				if after := m.Stats(); after.StubDeaths-before.StubDeaths > uint64(m.killed) {
					t.Errorf("%d stubs killed, %d deaths", m.killed, after.StubDeaths-before.StubDeaths)
				}
			})
			if again := m.sh(t, "exit 7"); again != 7 {
				t.Errorf("afterwards: status %d", again)
			}
			hit, fine := checkWorkers(t, m.out(), workers)
			t.Logf("%d stubs killed, %d workers hit, %d fine", m.killed, hit, fine)
			if hit == 0 || fine == 0 {
				t.Errorf("%d workers hit, %d fine: the test shows nothing", hit, fine)
			}
		})
	}
}

// templates is how many processes there are beside the stubs: those of guard
// sealed are copies of one.
func templates(t *testing.T) int {
	if testkit.Guard(t).Sealed {
		return 1
	}
	return 0
}

// killStubs kills stubs at random, but not the shell's, until done says a status.
// The shell's is the first that is not one of others, as the template is that stubs
// are copies of. Its number need not be the lowest: they begin anew some time.
func killStubs(t *testing.T, others []int, done <-chan int) (killed, status int) {
	t.Helper()
	const atMost = 12
	self := os.Getpid()
	var first []int
	for len(first) == 0 {
		first = slices.DeleteFunc(testkit.Children(t, self), func(pid int) bool { return slices.Contains(others, pid) })
	}
	shell := slices.Min(first)
	for {
		select {
		case status := <-done:
			return killed, status
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		}
		stubs := slices.DeleteFunc(testkit.Children(t, self), func(pid int) bool { return pid == shell })
		if len(stubs) < 2 || killed == atMost {
			continue
		}
		if unix.Kill(stubs[rand.IntN(len(stubs))], unix.SIGKILL) == nil {
			killed++
		}
	}
}

// checkWorkers reads what the workers and their parent said: each worker ended
// well with the right sum, or was hit.
func checkWorkers(t *testing.T, out string, workers int) (hit, fine int) {
	t.Helper()
	sums := make(map[string]string)
	for _, d := range regexp.MustCompile(`(?m)^done (\d+) (\d+)$`).FindAllStringSubmatch(out, -1) {
		sums[d[1]] = d[2]
	}
	statuses := regexp.MustCompile(`(?m)^status (\d+) (\d+)$`).FindAllStringSubmatch(out, -1)
	if len(statuses) != workers || strings.Count(out, "\n") != len(sums)+len(statuses) {
		t.Fatalf("output:\n%s", out)
	}
	var right string
	for _, s := range statuses {
		switch n, _ := strconv.Atoi(s[2]); n {
		case 0:
			fine++
			if right == "" {
				right = sums[s[1]]
			}
			if sum := sums[s[1]]; sum == "" || sum != right {
				t.Errorf("worker %s: %q instead of %q", s[1], sum, right)
			}
		case 128 + int(unix.SIGSEGV), 55:
			hit++
		default:
			t.Errorf("worker %s has status %d", s[1], n)
		}
	}
	return hit, fine
}
