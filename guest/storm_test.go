package guest_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/internal/testkit"
	"goskas/program"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// calm checks that f leaves a machine with as many frames in use as it found.
// Descriptors and children are boot's to check.
func (m *machine) calm(t *testing.T, f func()) {
	t.Helper()
	m.sh(t, "exit 0") // whatever the first run takes for good
	before := m.FramesInUse()
	f()
	if after := m.FramesInUse(); after != before {
		t.Errorf("%d frames in use before, %d after", before, after)
	}
	if left := testkit.Children(t, os.Getpid()); len(left) > templates(t) {
		t.Errorf("stubs left: %v", left)
	}
}

// storm forks, executes ./done and waits, again and again, and prints how often
// all went well.
func storm(rounds int) map[string][]byte {
	p := program.New()
	status := p.Word("status")
	p.Load(asm.RBX, 0)
	p.Loop(asm.R12, rounds, func() {
		p.Sys(unix.SYS_FORK)
		p.Check("fork")
		p.If(asm.RAX, asm.E, asm.Imm(0), func() {
			p.Sys(unix.SYS_EXECVE, "./done", p.Vector("done"), 0)
			p.Check("execve")
		})
		p.Sys(unix.SYS_WAIT4, asm.RAX, program.Addr(status), 0, 0)
		p.Check("wait4")
		p.If(status, asm.E, asm.Imm(7<<8), func() { p.Inc(8, asm.RBX) })
	})
	p.Print("well: ", asm.RBX, "\n")
	p.Exit(0)
	done := program.New()
	done.Exit(7)
	return map[string][]byte{"storm": p.MustBuild(), "done": done.MustBuild()}
}

func TestGuestForkExecStorm(t *testing.T) {
	for _, c := range []struct{ cpus, rounds int }{{1, 2000}, {2, 500}} {
		t.Run(fmt.Sprintf("%d vCPUs", c.cpus), func(t *testing.T) {
			if testing.Short() { // as under the race detector
				c.rounds /= 10
			}
			m := boot(t, guest.Config{CPUs: c.cpus, Files: storm(c.rounds), Dir: "/toy"})
			m.calm(t, func() {
				before := m.Stats()
				status, err := m.Run(t.Context(), "/toy/storm", []string{"storm"}, nil)
				after := m.Stats()
				if status != 0 || err != nil {
					t.Errorf("status %d, error %v", status, err)
				}
				forks, execs := int(after.Forks-before.Forks), int(after.Execs-before.Execs)
				if forks != c.rounds || execs != c.rounds+1 {
					t.Errorf("%d forks and %d execs", forks, execs)
				}
			})
			if diff := cmp.Diff(fmt.Sprintf("well: %d\n", c.rounds), m.out()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The same by a shell, whose memory is larger.
func TestGuestShellStorm(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds /= 10
	}
	m := boot(t, guest.Config{CPUs: 2})
	m.calm(t, func() {
		if status := m.sh(t, fmt.Sprintf(`
			i=0
			while [ $i -lt %d ]; do /bin/busybox true | /bin/busybox cat || exit 1; i=$((i+1)); done
			echo $i`, rounds)); status != 0 {
			t.Errorf("status %d", status)
		}
	})
	if diff := cmp.Diff(fmt.Sprintln(rounds), m.out()); diff != "" {
		t.Error(diff)
	}
}

// 200 processes live at once, each with a stub of its own.
func TestGuestManyProcessesAtOnce(t *testing.T) {
	processes := 200
	if testing.Short() {
		processes = 50
	}
	m := boot(t, guest.Config{CPUs: 2})
	m.calm(t, func() {
		done := make(chan int)
		go func() {
			done <- m.sh(t, fmt.Sprintf(`
				pids=
				for i in $(seq %d); do /bin/busybox sleep 1000 & pids="$pids $!"; done
				read go
				alive=0
				for p in $pids; do kill -0 $p && alive=$((alive+1)); done
				echo $alive alive
				kill $pids
				ended=0
				exec 2>/dev/null # the shell's "Terminated", there or not
				for p in $pids; do wait $p; [ $? = 143 ] && ended=$((ended+1)); done
				echo $ended ended`, processes))
		}()
		// The shell has one, too.
		for until := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			n := len(testkit.Children(t, os.Getpid()))
			if n == processes+1+templates(t) {
				break
			}
			if time.Now().After(until) {
				t.Errorf("%d stubs", n)
				break
			}
		}
		m.fill("go\n")
		if status := <-done; status != 0 {
			t.Errorf("status %d", status)
		}
	})
	want := fmt.Sprintf("%d alive\n%d ended\n", processes, processes)
	if diff := cmp.Diff(want, m.out()); diff != "" {
		t.Error(diff)
	}
}

// All processes fork at once, and their children again.
func TestGuestForkTree(t *testing.T) {
	m := boot(t, guest.Config{CPUs: 2})
	m.calm(t, func() {
		if status := m.sh(t, `
			tree() {
				[ $1 = 0 ] && { echo leaf; return; }
				tree $(($1-1)) & tree $(($1-1)) &
				wait
			}
			tree 6`); status != 0 {
			t.Errorf("status %d", status)
		}
	})
	if got, want := strings.Count(m.out(), "leaf\n"), 64; got != want {
		t.Errorf("%d leaves, not %d", got, want)
	}
}

var stormFor = flag.Duration("storm", time.Second, "how long each storm of threads, signals and processes lasts; from 10s on 4 vCPUs as well")

// storms are the programs of testdata/native that say by themselves whether
// anything was lost, and what they say if not.
var storms = []struct{ name, want string }{
	{"futexstorm", `process 0: 0
process 1: 0
all had as many turns: 1
exclusion holds: 1
woken and never back: 0
signals came: 1
stuck: 0
`},
	{"signalstorm", `to threads: 0 lost, 0 in disorder, some 1
to the process: 0 lost, sum off by 0, some 1
to the process: 0 lost, sum off by 0, some 1
to the process: 0 lost, sum off by 0, some 1
a pair's difference: 1
a pair's difference: 1
strays: 0, stuck: 0
`},
	{"forkstorm", `of every kind: 1, some killed: 1, wrong statuses: 0
signals lost: 0, sum off by 0, ordinary ones came: 1
bytes lost: 0
orphans: 1, descriptors left: 0
stuck: 0
`},
}

// No wake-up, no signal and no child's status is lost, nobody is stuck, and
// nothing is left over.
func TestGuestStorms(t *testing.T) {
	length, cpus := *stormFor, []int{1, 2}
	if length >= 10*time.Second {
		cpus = append(cpus, 4)
	}
	if testing.Short() {
		length = min(length, 300*time.Millisecond)
	}
	for _, s := range storms {
		image := compile(t, s.name)
		for _, n := range cpus {
			t.Run(fmt.Sprintf("%s on %d", s.name, n), func(t *testing.T) {
				m := boot(t, guest.Config{CPUs: n, Files: map[string][]byte{s.name: image}})
				m.calm(t, func() {
					argv := []string{s.name, fmt.Sprint(length.Milliseconds())}
					if status, err := m.Run(t.Context(), "/toy/"+s.name, argv, nil); status != 0 || err != nil {
						t.Errorf("status %d, error %v", status, err)
					}
				})
				stats := m.Stats()
				out := operations.ReplaceAllStringFunc(m.out(), func(line string) string {
					t.Logf("%s in %v: %d switches, %d stubs refused, %d calls denied", strings.TrimSpace(line), length, stats.Switches, stats.Skas.Refused, stats.Skas.Denied)
					return ""
				})
				if diff := cmp.Diff(s.want, out); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// operations is the one line of a storm that differs from run to run.
var operations = regexp.MustCompile(`(?m)^operations: [1-9][0-9]*\n`)
