package skas

import (
	"os"
	"runtime"
	"sync"
	"time"
)

// spareProcs is how many Ps (what GOMAXPROCS counts) there are besides those of
// the vCPUs: one that a goroutine of ours uses now and then, and one that is
// idle.
const spareProcs = 2

// procs is what raiseProcs has asked for so far. To ask stops the world, even if
// nothing changes.
var (
	procsMu sync.Mutex
	procs   int
)

// raiseProcs sees to it that Go has enough Ps for a number of vCPUs. A thread
// that waits for its stub holds its P. While no P is idle, the runtime looks every
// 20 µs for one whose thread is in a system call, and takes it away; on the one
// CPU that monitor and stubs share, that look alone costs two switches of thread.
// Fresh pages took three times as long. With an idle P the runtime lets a system
// call have 10 ms, and looks seldom (sysmon and retake in runtime/proc.go, Go 1.26).
//
// Go counts the CPUs that the process may use, and goes on counting until
// GOMAXPROCS is set: a process that is pinned to one CPU would end with one P.
// Whoever has set the variable of that name knows better.
func raiseProcs(vcpus int) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	procsMu.Lock()
	defer procsMu.Unlock()
	if want := max(runtime.NumCPU(), vcpus+spareProcs); procs < want {
		runtime.GOMAXPROCS(max(want, runtime.GOMAXPROCS(0)))
		procs = want
	}
}

// lease is how long a vCPU has had its P, by the scheduler of Go: since when, and
// what the time was when it ran last.
type lease struct{ since, now time.Duration }

// leaseLimit is half of what the scheduler allows.
const leaseLimit = 5 * time.Millisecond

// renew gives the P back and takes it again, if that was long ago. The scheduler
// has no turn with a goroutine that makes one system call after the other: after
// 10 ms it takes the P from it in the middle of one, and then looks every 20 µs for
// a while whether there is another one to take, as above. With everything on one
// CPU that took a tenth of it.
func (l *lease) renew() {
	if l.now-l.since > leaseLimit {
		runtime.Gosched()
		l.since = l.now
	}
}
