package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guard"
	"goskas/guest/vfs"
	"goskas/guest/wait"
	"goskas/physmem"
	"goskas/skas"
	"goskas/timer"
)

// Config describes a guest machine.
type Config struct {
	Arch   arch.Arch
	Memory int64 // bytes of guest memory; 0 means 256 MiB
	CPUs   int   // vCPUs; 0 means 1
	HZ     int   // ticks per second; 0 means 100
	// Mode, Guard, Stall and NoSyncWake are the monitor's (skas.Config).
	Mode       skas.Mode
	Guard      guard.Guard
	Stall      skas.Stall
	NoSyncWake bool
	// NoFaultAround brings in only the page of a file that a fault asks for,
	// not its neighbours.
	NoFaultAround bool
	// NoVDSO gives programs no shared object that tells the time without a
	// system call.
	NoVDSO bool
	// Root is the host directory that the guest sees, read-only, as its
	// root; "" means an empty tree. /tmp, /dev, /proc and /toy are the
	// guest's own in either case.
	Root string
	// Binds are more directories of the host, in this order: one may lie in
	// another.
	Binds []Bind
	// TmpSize limits each writable tree, in bytes; 0 means half of Memory.
	TmpSize int64
	// Files are placed, executable, in /toy; the names may have slashes.
	Files    map[string][]byte
	Dir      string // working directory of process 1; "" means /
	Hostname string // "" means "goskas"
	// The console. A nil file reads as empty and swallows output.
	Stdin, Stdout, Stderr *os.File
	// Terminal gives the guest a terminal of its own, with a line discipline and
	// job control, whose keys come from Stdin and whose screen is Stdout. If these
	// are a terminal, it has to be in raw mode.
	Terminal bool
	Strace   io.Writer    // gets the system call trace; nil for none
	Log      *slog.Logger // nil for none
}

// Bind shows a directory of the host at a place of the guest's tree. What the guest
// changes there is changed on the host, as the user that the monitor runs as.
type Bind struct {
	Host  string
	Guest string // absolute and clean
	Write bool   // without it the guest cannot change anything
}

// Kernel is a guest machine. Its methods may be called from any goroutine.
type Kernel struct {
	// Set by New and constant from then on.
	cfg  Config
	log  *slog.Logger
	arch arch.Arch
	mem  *physmem.Memory
	mon  *skas.Monitor
	vdso *vdso // nil: none

	mu sync.Mutex // guards everything below, and guest/vfs

	clock timer.Clock
	ns    *vfs.Namespace
	hosts []*vfs.Host    // directories of the host that are mounted
	files *vfs.HostCache // pages of their files
	tmps  []*vfs.Tmp     // trees in memory
	shm   *vfs.Tmp       // holds what has no name: shared memory
	tty   tty
	// deviceNumbers finds the character devices of /dev but terminals.
	deviceNumbers map[uint64]*vfs.Device
	pipes         vfs.Pipes
	sockets       vfs.Sockets
	current       *Task  // whose system call is being attempted
	scratch       []byte // bounce buffer of the call that holds mu
	// pollQueues and spareWaiters keep memory for waits on many files.
	pollQueues   []*wait.Queue
	spareWaiters []*wait.Waiter
	hostname     string
	domain       string

	procs    map[int]*Process // by number
	tasks    map[int]*Task    // by thread number
	maxTasks int
	lastPid  int
	init     *Process // process 1
	// queuedSignals counts siginfos that wait, in all processes.
	queuedSignals int

	onCPU            []*Task // by vCPU: the task that it runs
	runHead, runTail *Task
	runLen           int
	idlers           int
	idle             *sync.Cond // on mu: a task became runnable, or stopping
	timers           timer.Queue
	alarm            *time.Timer   // wakes an idle vCPU for timers
	alarmAt          time.Duration // what it is set to; 0 if it is not

	futexes map[futexKey]*futexQueue
	locks   map[fileID]*fileLocks
	// lockWaits tells, of owners of POSIX locks that wait, for whom.
	lockWaits map[any]any

	running  bool
	stopping bool
	status   int   // of process 1, as wait4 reports it
	failure  error // why the machine stopped, if not by itself

	stats    counters
	tracer   *tracer
	zero     physmem.PFN // a page of zeros, if hasZero
	hasZero  bool
	startErr *StartError // why the last exec failed
}

// scratchSize bounds one step of a read or write.
const scratchSize = 256 << 10

// errRunning is returned by Run while another Run is under way.
var errRunning = errors.New("guest is running")

// New builds a machine. Close gives everything back.
func New(cfg Config) (*Kernel, error) {
	if cfg.Arch == nil {
		return nil, errors.New("guest: no CPU architecture given")
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 1
	}
	if cfg.HZ == 0 {
		cfg.HZ = 100
	}
	if cfg.TmpSize == 0 {
		cfg.TmpSize = cfg.Memory / 2
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "goskas"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	mem, err := physmem.New(cfg.Memory)
	if err != nil {
		return nil, fmt.Errorf("guest memory: %w", err)
	}
	mon, err := skas.New(skas.Config{Memory: mem, Arch: cfg.Arch, HZ: cfg.HZ, Log: cfg.Log, Mode: cfg.Mode, CPUs: cfg.CPUs, Leaves: true,
		Guard: cfg.Guard, Stall: cfg.Stall, NoSyncWake: cfg.NoSyncWake})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start monitor: %w", err), mem.Close())
	}
	k := newKernel(cfg, mem, mon)
	if !cfg.NoVDSO {
		if k.vdso, err = k.newVDSO(); err != nil {
			return nil, errors.Join(err, k.Close())
		}
	}
	if err := k.buildTree(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// newKernel makes the parts that need no host; tests use it without a monitor.
func newKernel(cfg Config, mem *physmem.Memory, mon *skas.Monitor) *Kernel {
	k := &Kernel{
		cfg:      cfg,
		log:      cfg.Log,
		arch:     cfg.Arch,
		mem:      mem,
		mon:      mon,
		clock:    timer.Monotonic(),
		scratch:  make([]byte, scratchSize),
		hostname: cfg.Hostname,
		domain:   "(none)",
		procs:    make(map[int]*Process),
		tasks:    make(map[int]*Task),
		maxTasks: 4096,
		onCPU:    make([]*Task, cfg.CPUs),
		futexes:  make(map[futexKey]*futexQueue),

		locks:     make(map[fileID]*fileLocks),
		lockWaits: make(map[any]any),
	}
	k.shm = k.newTmp(math.MaxInt64)
	k.files = vfs.NewHostCache(k.fileMemory(), mem.Stats().Total/fileCacheShare)
	k.idle = sync.NewCond(&k.mu)
	k.stats.unknown = make(map[uint64]uint64)
	if cfg.Strace != nil {
		k.tracer = &tracer{out: cfg.Strace}
	}
	return k
}

// Close ends the monitor and frees guest memory. No Run may be under way.
func (k *Kernel) Close() error {
	k.mu.Lock()
	k.dropCaches()
	k.mu.Unlock()
	// Not under the lock, which the console's goroutines take.
	err := k.closeTree()
	if k.mon != nil {
		err = errors.Join(err, k.mon.Close())
	}
	if k.vdso != nil {
		k.vdso.close(k.mem)
	}
	return errors.Join(err, k.mem.Close())
}

// now is the time since the host's boot, the guest's CLOCK_MONOTONIC.
func (k *Kernel) now() time.Duration { return k.clock.Now() }

// Run starts path (looked up in env's PATH if it has no slash) as process 1 and returns its exit status when it is over, as
// a shell would say it: 128 plus the signal if one killed it. Whatever other
// processes are left then are killed. The error says that the program could
// not be started (errors.Is finds its unix.Errno), that the context ended, or
// that the machine failed.
func (k *Kernel) Run(ctx context.Context, path string, argv, env []string) (status int, err error) {
	if err := k.boot(path, argv, env); err != nil {
		return 0, err
	}
	detach := context.AfterFunc(ctx, func() { k.stop(context.Cause(ctx)) })
	defer detach()

	var vcpus sync.WaitGroup
	for id := range k.cfg.CPUs {
		vcpus.Go(func() {
			if err := k.vcpu(id); err != nil {
				k.stop(fmt.Errorf("vCPU %d: %w", id, err))
			}
		})
	}
	vcpus.Wait()

	k.mu.Lock()
	status, err = shellStatus(k.status), k.failure
	k.halt()
	k.mu.Unlock()
	if k.mon != nil {
		k.mon.Quiesce()
	}
	return status, err
}

// boot makes process 1 and puts it on the run queue.
func (k *Kernel) boot(path string, argv, env []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running {
		return errRunning
	}
	k.stopping, k.failure, k.status, k.lastPid = false, nil, 0, 0
	t, errno := k.newTask()
	if errno != 0 {
		return fmt.Errorf("start process 1: %w", errno)
	}
	t.sid, t.pgid = t.pid, t.pid
	t.sig = new(SigHand)
	t.rlimits = newLimits()
	k.init = t.Process
	k.takeConsole(t.Process)
	if err := k.initFiles(t); err != nil {
		k.halt()
		return fmt.Errorf("start process 1: %w", err)
	}
	x, errno := k.prepareFile(t, k.lookPath(t, path, env), argv, env)
	if errno != 0 {
		why := k.startErr
		k.halt()
		if why == nil {
			why = &StartError{Path: path, Errno: errno}
		}
		return why
	}
	x.commit(t)
	k.traceBoot(t, path, argv, env)
	k.running = true
	k.enqueue(t)
	return nil
}

// stop makes Run return early.
func (k *Kernel) stop(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil {
		k.failure = why
	}
	k.shutdown()
}

// shutdown tells every vCPU to leave; the ones in guest code do at their next
// event, a tick at the latest.
func (k *Kernel) shutdown() {
	k.stopping = true
	k.idle.Broadcast()
}

// halt takes all tasks apart; no vCPU runs any more.
func (k *Kernel) halt() {
	for _, t := range k.tasks {
		t.release()
		t.state = taskDead
	}
	clear(k.tasks)
	clear(k.procs)
	clear(k.onCPU)
	k.queuedSignals = 0
	clear(k.futexes)
	k.init, k.runHead, k.runTail, k.runLen = nil, nil, nil, 0
	k.timers = timer.Queue{}
	k.alarmAt = 0
	if k.alarm != nil {
		k.alarm.Stop()
		k.alarm = nil
	}
	k.running = false
	k.traceEnd()
}

// Interrupt sends a signal to the foreground processes of the console, as the
// terminal does for Ctrl-C. It returns how much of standard input the guest has
// read so far: more than last time says that somebody there still listens.
func (k *Kernel) Interrupt(sig unix.Signal) (consumed uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running {
		k.signalGroup(k.tty.control.Foreground, kernelSignal(int(sig)))
	}
	if k.tty.console == nil {
		return 0
	}
	return k.tty.console.Consumed()
}

// shellStatus is $? for a wait status.
func shellStatus(ws int) int {
	if sig := ws & 0x7f; sig != 0 {
		return 128 + sig
	}
	return ws >> 8 & 0xff
}
