package guest

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/guest/wait"
	"goskas/internal/abi"
	"goskas/timer"
)

// taskState says who may run a task.
type taskState uint8

const (
	taskRunnable taskState = iota // on the run queue
	taskRunning                   // on a vCPU
	taskBlocked                   // waits inside a system call
	taskStopped                   // by a stop signal, until SIGCONT or SIGKILL
	taskZombie                    // over; its parent has not waited yet
	taskDead                      // gone from the task table
)

// procLetter is the state's letter in /proc/pid/stat.
func (s taskState) procLetter() byte { return "RRSTZX"[s] }

// FS is where a task stands in the tree of files.
type FS struct {
	cwd   *vfs.Dentry
	umask uint32
}

// maxWaits is how many queues a task waits on without an allocation.
const maxWaits = 4

// Task is one process: this kernel has one thread of control per process.
type Task struct {
	k      *Kernel
	pid    int
	pgid   int
	sid    int
	parent *Task // nil for process 1
	// children are in order of birth, zombies included.
	children []*Task

	state taskState
	next  *Task // run queue
	yield bool  // goes to the tail after this system call

	regs  arch.Regs
	space *Space // nil once it is over
	files *Files
	fs    *FS

	comm     string // at most 15 bytes
	exe      string
	cmdline  []string
	dumpable bool
	execd    bool // ran execve since fork: setpgid by the parent fails

	call   call
	waits  []waitOn
	waiter [maxWaits]wait.Waiter
	wakeFn func() // made once, so that a wait allocates nothing
	alarm  *timer.Timer
	// childDone wakes wait4 and friends; vfork the parent that lent its memory;
	// exitSig is what the parent is sent at the end.
	childDone wait.Queue
	vfork     *vforkWait
	exitSig   int
	clearTID  arch.Addr
	futex     *futexWaiter

	sig       *SigHand
	fatal     int    // a signal that ends t before anything else happens
	pending   uint64 // a bit per signal, bit 0 is signal 1
	queued    []sigInfo
	blocked   uint64
	savedMask uint64 // to restore after sigsuspend, ppoll, pselect6
	haveSaved bool
	sigWait   uint64 // what sigtimedwait waits for
	altBase   arch.Addr
	altSize   uint64
	altFlags  uint32
	pdeathSig int
	// trap is the last exception that brought a signal, with the address of the
	// last such page fault (thread_struct's trap_nr, error_code and cr2).
	trap arch.Fault

	status     int  // as wait4 reports it, once a zombie
	stopSig    int  // why it stopped
	stopNews   bool // a stop that wait4(WUNTRACED) has not reported
	contNews   bool // a continue that wait4(WCONTINUED) has not reported
	itimerReal itimer

	rlimits [16]unix.Rlimit

	started         time.Duration
	kernelSince     time.Duration // when guest code was last left
	utime, stime    time.Duration
	cutime, cstime  time.Duration
	minflt, cminflt uint64
	nvcsw, nivcsw   uint64
	maxRSS, cmaxRSS uint64

	segment [1]segment // of the system call under way
	trace   tracedCall
}

type waitOn struct {
	q *wait.Queue
	w *wait.Waiter
}

// infinity is RLIM_INFINITY.
const infinity = ^uint64(0)

// newTask makes a task with no memory, files or place; the caller fills it in
// and starts it.
func (k *Kernel) newTask() (*Task, unix.Errno) {
	if len(k.tasks) >= k.maxTasks {
		return nil, unix.EAGAIN
	}
	t := &Task{k: k, pid: k.freePid(), exitSig: int(unix.SIGCHLD), dumpable: true}
	t.wakeFn = func() { k.wake(t) }
	t.started = k.now()
	t.altFlags = abi.SS_DISABLE
	k.tasks[t.pid] = t
	return t, 0
}

// freePid finds a number that neither a task nor a group or session uses.
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
	for _, t := range k.tasks {
		if t.pgid == id || t.sid == id {
			return true
		}
	}
	return false
}

func (t *Task) setComm(name string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	if len(name) > 15 {
		name = name[:15]
	}
	t.comm = name
}

// setImage makes sp t's memory: the point of no return of execve.
func (t *Task) setImage(sp *Space, exe string, argv []string) {
	t.dropSpace()
	t.space = sp
	t.exe = exe
	t.cmdline = argv
	t.setComm(exe)
	t.execd = true
	t.dumpable = true
	t.clearTID = 0

	if t.files.refs > 1 { // exec unshares the table
		f := t.files.fork()
		t.files.unref()
		t.files = f
	}
	t.files.CloseExec()
	t.sig = t.sig.forExec()
	t.altBase, t.altSize, t.altFlags = 0, 0, abi.SS_DISABLE
	t.k.stats.Execs++
}

// dropSpace gives back t's memory and lets a vfork parent go on.
func (t *Task) dropSpace() {
	if t.space != nil {
		if _, rss := t.space.pages(); rss > t.maxRSS {
			t.maxRSS = rss
		}
		// skas must not write the extended state into these registers
		// when another task goes on with a shared space.
		t.saveX()
		t.space.unref()
		t.space = nil
	}
	if v := t.vfork; v != nil {
		t.vfork = nil
		v.done = true
		v.queue.Wake()
	}
}

// newLimits are the resource limits of process 1.
func newLimits() (l [16]unix.Rlimit) {
	for i := range l {
		l[i] = unix.Rlimit{Cur: infinity, Max: infinity}
	}
	l[unix.RLIMIT_STACK].Cur = 8 << 20
	l[unix.RLIMIT_CORE].Cur = 0
	l[unix.RLIMIT_NOFILE] = unix.Rlimit{Cur: 1024, Max: 4096}
	l[unix.RLIMIT_NPROC] = unix.Rlimit{Cur: 4096, Max: 4096}
	l[unix.RLIMIT_MEMLOCK] = unix.Rlimit{Cur: 8 << 20, Max: 8 << 20}
	l[unix.RLIMIT_SIGPENDING] = unix.Rlimit{Cur: maxQueued, Max: maxQueued}
	return l
}
