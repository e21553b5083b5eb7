package guest

import (
	"slices"
	"strings"
	"time"

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
	taskZombie                    // over; a leader whose process is not buried yet
	taskDead                      // gone from the task table
)

// procLetter is the state's letter in /proc/pid/stat.
func (s taskState) procLetter() byte { return "RRSTZX"[s] }

// FS is where a task stands in the tree of files.
type FS struct {
	ns    *vfs.Namespace // from its root directory
	cwd   *vfs.Dentry
	umask uint32
}

// maxWaits is how many queues a task waits on without an allocation.
const maxWaits = 4

// Task is one thread of a process.
type Task struct {
	*Process
	k   *Kernel
	tid int

	state taskState
	next  *Task // run queue
	yield bool  // goes to the tail after this system call
	vcpu  int   // that ran it last

	regs  arch.Regs
	space *Space // nil once it is over
	files *Files
	fs    *FS

	comm string // at most 15 bytes

	call   call
	waits  []waitOn
	waiter [maxWaits]wait.Waiter
	wakeFn func() // made once, so that a wait allocates nothing
	alarm  *timer.Timer
	// vfork is the parent's thread that lent its memory.
	vfork  *vforkWait
	futex  *futexWaiter
	robust arch.Addr // the list of mutexes to give up at the end, 0 for none
	// clearTID is the word to clear, and wake, at the end.
	clearTID arch.Addr

	dying      bool // ends before anything else happens
	stopWanted bool // takes part in a group stop before anything else happens

	pending   sigQueue // signals for this thread alone
	blocked   uint64
	savedMask uint64 // to restore after sigsuspend, ppoll, pselect6
	haveSaved bool
	sigWait   uint64 // what sigtimedwait waits for
	altBase   arch.Addr
	altSize   uint64
	altFlags  uint32
	pdeathSig int
	policy    schedPolicy
	// trap is the last exception that brought a signal, with the address of the
	// last such page fault (thread_struct's trap_nr, error_code and cr2).
	trap arch.Fault

	started     time.Duration
	kernelSince time.Duration // when guest code was last left
	usage

	segment [1]segment // of the system call under way
	trace   tracedCall
}

type waitOn struct {
	q *wait.Queue
	w *wait.Waiter
}

// infinity is RLIM_INFINITY.
const infinity = ^uint64(0)

// commOf is the name of a task that runs a program.
func commOf(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	return name[:min(len(name), 15)]
}

func (t *Task) noAltStack() { t.altBase, t.altSize, t.altFlags = 0, 0, abi.SS_DISABLE }

// setImage makes sp the memory of t, the only thread left: the point of no
// return of execve.
func (t *Task) setImage(sp *Space, exe string, argv []string) {
	t.leaveMemory()
	t.dropSpace()
	t.space = sp
	t.exe = exe
	t.cmdline = argv
	t.execd = true
	t.dumpable = true

	if t.files.refs > 1 { // exec unshares the table
		f := t.files.fork()
		t.files.unref()
		t.files = f
	}
	t.files.CloseExec()
	t.sig = t.sig.forExec()
	t.deletePosixTimers()
	t.noAltStack()
	t.k.stats.Execs++
}

// leaveMemory tells the other users of t's memory that t is about to leave it:
// mutexes that it holds are given up, and its word is cleared.
func (t *Task) leaveMemory() {
	t.walkRobustList()
	a := t.clearTID
	t.clearTID = 0
	if a == 0 || t.space == nil || t.space.refs == 1 {
		return
	}
	if t.storeU32(a, 0) == 0 {
		t.k.futexWake(t, a, 1, false, ^uint32(0))
	}
}

// dropSpace gives back t's memory and lets a vfork parent go on.
func (t *Task) dropSpace() {
	if t.space != nil {
		if _, rss := t.space.pages(); rss > t.gone.maxRSS {
			t.gone.maxRSS = rss
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

// release gives back everything that t holds except for its number and status.
func (t *Task) release() {
	t.unwait()
	t.leaveFutex()
	if x, ok := t.call.data.(*pendingExec); ok {
		x.space.unref()
	}
	t.call = call{}
	t.dropSpace()
	if t.files != nil {
		t.files.unref()
		t.files = nil
	}
	t.regs.X = nil
}

// bury removes t from the tables.
func (t *Task) bury() {
	t.state = taskDead
	delete(t.k.tasks, t.tid)
	t.gone.add(&t.usage)
	t.threads = slices.DeleteFunc(t.threads, func(o *Task) bool { return o == t })
}
