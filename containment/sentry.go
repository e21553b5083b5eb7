package containment

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// sentry notices runs that hang, by what the offender's stub does meanwhile:
// by its own CPU time, or by its sleep, so that a busy host is no reason. It
// then kills the stub, so that the run comes back.
type sentry struct {
	quit chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	running bool
	seq     uint64
	hung    string
}

const (
	watchPeriod = 10 * time.Millisecond
	// hangCPU is far beyond two ticks of the slowest stage (100 Hz).
	hangCPU = 300 * time.Millisecond
	// hangSleeps is how many looks in a row may find the stub asleep, with
	// no CPU time used, in one run.
	hangSleeps = 200
	// hangLooks bounds one run altogether.
	hangLooks = 6000
)

func (w *sentry) watch(o *offender, work time.Duration) {
	w.quit = make(chan struct{})
	w.done.Go(func() {
		t := time.NewTicker(watchPeriod)
		defer t.Stop()
		var last struct {
			seq           uint64
			start, cpu    time.Duration
			looks, sleeps int
		}
		for {
			select {
			case <-w.quit:
				return
			case <-t.C:
			}
			w.mu.Lock()
			seq, running := w.seq, w.running
			w.mu.Unlock()
			pid := o.mm.PID()
			cpu, err := sys.ProcessCPU(pid)
			if err != nil || !running {
				continue
			}
			if seq != last.seq {
				last.seq, last.start, last.looks, last.sleeps = seq, cpu, 0, 0
			}
			last.looks++
			if asleep(pid) && cpu == last.cpu {
				last.sleeps++
			} else {
				last.sleeps = 0
			}
			last.cpu = cpu
			var why string
			switch {
			case cpu-last.start > hangCPU+work:
				why = fmt.Sprintf("a run hung while the stub used %v of CPU time", (cpu - last.start).Round(watchPeriod))
			case last.sleeps > hangSleeps:
				why = "a run hung while the stub slept"
			case last.looks > hangLooks:
				why = fmt.Sprintf("a run hung for %v", hangLooks*watchPeriod)
			default:
				continue
			}
			w.mu.Lock()
			if w.running && w.seq == seq {
				w.hung = why
				_ = unix.PidfdSendSignal(o.pidfd, unix.SIGKILL, nil, 0) // gone is as well
			}
			w.mu.Unlock()
		}
	})
}

func (w *sentry) rest() {
	close(w.quit)
	w.done.Wait()
}

func (w *sentry) begin() {
	w.mu.Lock()
	w.running = true
	w.seq++
	w.mu.Unlock()
}

// end says how the run hung, or "".
func (w *sentry) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	return w.hung
}

// asleep reports whether a process sleeps (state S of proc_pid_stat(5)).
func asleep(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := bytes.Cut(text, []byte(") "))
	return ok && len(rest) > 0 && rest[0] == 'S'
}
