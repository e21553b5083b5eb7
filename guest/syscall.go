package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// args are the six raw arguments of a system call.
type args [6]uint64

func (a args) addr(i int) arch.Addr { return arch.Addr(a[i]) }
func (a args) int(i int) int        { return int(int32(a[i])) }
func (a args) u32(i int) uint32     { return uint32(a[i]) }
func (a args) i64(i int) int64      { return int64(a[i]) }

// handler runs a system call of t with the kernel lock held. It returns a
// result and errno 0, an errno, or what (*Task).block returned.
type handler func(t *Task, a args) (int64, unix.Errno)

// Results that never reach a guest. The four restart codes and their numbers
// are those of Linux (include/linux/errno.h); errBlocked lies outside of the
// range of errnos altogether.
const (
	errRestartSys    unix.Errno = 512 // again, or EINTR if a handler without SA_RESTART runs
	errRestartNoIntr unix.Errno = 513 // always again
	errRestartNoHand unix.Errno = 514 // again, or EINTR if any handler runs
	errRestartBlock  unix.Errno = 516 // as NoHand here: the progress is in Task.call
	errBlocked       unix.Errno = 0x10000
	errNeverReturns  unix.Errno = 0x10001 // the task is gone, or its registers are not to be touched
	maxGuestErrno    unix.Errno = 4095

	numCounted = 512  // system calls counted one by one
	maxCounted = 4095 // unknown ones likewise; the rest count as this
)

func isRestart(e unix.Errno) bool {
	switch e {
	case errRestartSys, errRestartNoIntr, errRestartNoHand, errRestartBlock:
		return true
	}
	return false
}

// level says how much of a system call there is.
type level uint8

const (
	full level = iota
	partial
	none // known, and refused
)

func (l level) String() string { return [...]string{"full", "partial", "none"}[l] }

// entry is one system call.
type entry struct {
	name  string
	fn    handler
	level level
	note  string
}

// call is the system call that a task is in, with the progress that its
// handler keeps from one attempt to the next.
type call struct {
	active   bool
	nr       uint64
	args     args
	fn       handler
	restart  unix.Errno // why it was interrupted, 0 if it was not
	timed    bool       // deadline is set
	deadline time.Duration
	done     int64 // bytes moved so far
	data     any   // anything else
}

// beginCall sets t up for the system call that its registers hold.
func (k *Kernel) beginCall(t *Task, nr uint64, a args) {
	t.call = call{active: true, nr: nr, args: a, fn: sysUnknown}
	if nr < uint64(len(table)) && table[nr].fn != nil {
		t.call.fn = table[nr].fn
	}
	if nr < numCounted {
		k.stats.calls[nr]++
	}
	k.stats.Syscalls++
	k.traceEnter(t)
}

// attempt calls the handler of t's system call, for the first time or after a
// wait.
func (k *Kernel) attempt(t *Task) {
	t.call.restart = 0
	k.current = t
	v, e := t.call.fn(t, t.call.args)
	k.current = nil
	switch {
	case e == errBlocked:
	case e == errNeverReturns:
		t.call = call{}
	case isRestart(e):
		t.call.restart = e
	default:
		k.endCall(t, v, e)
		if e != unix.EINTR { // the signal is yet to be delivered, under the mask that let it through
			t.restoreSavedMask()
		}
	}
}

// endCall gives t the result of its system call.
func (k *Kernel) endCall(t *Task, v int64, e unix.Errno) {
	if e != 0 {
		v = -int64(e)
	}
	k.traceExit(t, v)
	k.arch.SetResult(&t.regs, v)
	t.call = call{}
}

// sysRestartSyscall has nothing to go on with: interrupted calls go on by
// themselves.
func sysRestartSyscall(*Task, args) (int64, unix.Errno) { return 0, unix.EINTR }

func sysUnknown(t *Task, a args) (int64, unix.Errno) {
	// Numbers come from the guest: the map must not grow with them.
	t.k.stats.unknown[min(t.call.nr, maxCounted)]++
	return 0, unix.ENOSYS
}
