package main

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"goskas/internal/testkit"
)

// cpuTime is what skas, all its threads, and its stubs have used.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	var total time.Duration
	for _, p := range append(testkit.Children(t, pid), pid) {
		dir := "/proc/" + strconv.Itoa(p) + "/task/"
		threads, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			b, err := os.ReadFile(dir + thread.Name() + "/schedstat")
			if err != nil {
				continue // it is gone
			}
			var on int64 // the first number: nanoseconds on a CPU
			if _, err := fmt.Sscan(string(b), &on); err != nil {
				t.Fatalf("schedstat of %d: %v", p, err)
			}
			total += time.Duration(on)
		}
	}
	return total
}

// A guest whose programs all wait costs next to nothing: no tick runs for it, and
// what the monitor looks after by itself is rare. It was 0.03 to 0.04 % of a CPU when
// this was written; the limit is far above what a busy host adds.
func TestGuestIdle(t *testing.T) {
	path := buildCommand(t)
	term := newTerminal(t)
	// One waits for a child, one sleeps, one reads a pipe, one waits in select
	// with a time limit far off, and a shell reads its terminal.
	p := term.run(path, "run", "-it", "--cpus", "2", "--env", "PS1=ready> ", "--env", "TERM=dumb", "--", "/bin/bash", "--norc", "-i")
	term.screen.await(t, "ready> ")
	term.enter("(sleep 1000 & wait) & (sleep 1000 | cat) & perl -e 'select undef, undef, undef, 1000' & " +
		`until test $(cat /proc/[0-9]*/stat | grep -c "(sleep) S\|(cat) S\|(perl) S") = 4; do :; done; echo begun` + "\r")
	term.screen.await(t, "\nbegun\r\n")
	time.Sleep(3 * time.Second) // the shell waits, too, and skas has noticed
	const long = 3 * time.Second
	before := cpuTime(t, p.Process.Pid)
	time.Sleep(long)
	used := cpuTime(t, p.Process.Pid) - before
	t.Logf("%v of CPU time in %v: %.3f %%", used, long, 100*used.Seconds()/long.Seconds())
	if used > long/100 {
		t.Errorf("an idle guest used %v of CPU time in %v", used, long)
	}
}
