package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

// Process is a group of threads: what Linux keeps in signal_struct, and what
// the outside world knows by a process number. Every Task embeds its own.
type Process struct {
	k   *Kernel
	pid int // the tid of the leader
	// leader is the first thread, or after execve the one that called it.
	leader *Task
	// threads are those that are not gone; a leader that has ended stays until
	// all others have. live counts those that have not ended.
	threads []*Task
	live    int
	// threadGone wakes a thread that waits for the others to end.
	threadGone wait.Queue

	pgid, sid int
	parent    *Process // nil for process 1
	// forker is the parent's thread that made this process, or has taken over
	// from that.
	forker *Task
	// children are in order of birth, zombies included.
	children []*Process

	exe      string
	cmdline  []string
	dumpable bool
	execd    bool // ran execve since fork: setpgid by the parent fails

	// childDone wakes wait4 and friends of any thread; exitSig is what the
	// parent is sent at the end.
	childDone wait.Queue
	exitSig   int

	sig    *SigHand
	shared sigQueue // signals for whichever thread takes them
	// sigNews wakes those who wait for pending signals by way of signalfd.
	sigNews wait.Queue

	ending bool // every thread is to end
	ended  bool // every thread has: a zombie
	status int  // as wait4 reports it, once it is ending

	stopSig  int  // of the last group stop
	stopped  bool // every thread has stopped
	stopNews bool // a stop that wait4(WUNTRACED) has not reported
	contNews bool // a continue that wait4(WCONTINUED) has not reported

	itimers   [3]itimer
	timers    map[int]*posixTimer
	nextTimer int
	cpuTimers []*expiry // that run on CPU time
	rlimits   [16]unix.Rlimit
	persona   uint32 // of personality(2)

	started time.Duration
	gone    usage // of threads that are gone
	kids    usage // of children that were waited for, and theirs
}

// usage counts what a thread, or several, have used.
type usage struct {
	utime, stime  time.Duration
	minflt        uint64
	nvcsw, nivcsw uint64
	maxRSS        uint64 // of a process, in bytes
}

func (u *usage) add(o *usage) {
	u.utime += o.utime
	u.stime += o.stime
	u.minflt += o.minflt
	u.nvcsw += o.nvcsw
	u.nivcsw += o.nivcsw
	u.maxRSS = max(u.maxRSS, o.maxRSS)
}

// used is what all threads of p have used so far.
func (p *Process) used() usage {
	u := p.gone
	for _, t := range p.threads {
		u.add(&t.usage)
	}
	if t := p.leader; t != nil && t.space != nil {
		_, rss := t.space.pages()
		u.maxRSS = max(u.maxRSS, rss)
	}
	return u
}

// newTask makes a process with one thread, which has no memory, files or place;
// the caller fills it in and starts it.
func (k *Kernel) newTask() (*Task, unix.Errno) {
	p := &Process{k: k, exitSig: int(unix.SIGCHLD), dumpable: true, started: k.now()}
	p.newItimers()
	t, e := k.newThread(p)
	if e != 0 {
		return nil, e
	}
	p.pid, p.leader = t.tid, t
	k.procs[p.pid] = p
	return t, 0
}

// newThread adds a thread to p.
func (k *Kernel) newThread(p *Process) (*Task, unix.Errno) {
	if len(k.tasks) >= k.maxTasks {
		return nil, unix.EAGAIN
	}
	t := &Task{k: k, Process: p, tid: k.freePid(), started: k.now()}
	t.wakeFn = func() { k.wake(t) }
	t.noAltStack()
	k.tasks[t.tid] = t
	p.threads = append(p.threads, t)
	p.live++
	return t, 0
}

// freePid finds a number that neither a thread nor a group or session uses.
func (k *Kernel) freePid() int {
	for {
		k.lastPid++
		if k.lastPid > maxPid {
			k.lastPid = 2
		}
		if k.tasks[k.lastPid] == nil && !k.groupInUse(k.lastPid) {
			return k.lastPid
		}
	}
}

// maxPid is the largest process number, PID_MAX_DEFAULT less one.
const maxPid = 32767

func (k *Kernel) groupInUse(id int) bool {
	for _, p := range k.procs {
		if p.pgid == id || p.sid == id {
			return true
		}
	}
	return false
}

// newLimits are the resource limits of process 1.
func newLimits() (l [16]unix.Rlimit) {
	for i := range l {
		l[i] = unix.Rlimit{Cur: infinity, Max: infinity}
	}
	l[unix.RLIMIT_STACK].Cur = stackSize
	l[unix.RLIMIT_CORE].Cur = 0
	l[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1024, Max: 4096}
	l[unix.RLIMIT_NPROC] = unix.Rlimit{Cur: 4096, Max: 4096}
	l[unix.RLIMIT_MEMLOCK] = unix.Rlimit{Cur: 8 << 20, Max: 8 << 20}
	l[unix.RLIMIT_SIGPENDING] = unix.Rlimit{Cur: maxQueued, Max: maxQueued}
	return l
}
