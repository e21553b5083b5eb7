package sys

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Futex operations (linux/futex.h), all without FUTEX_PRIVATE_FLAG: the word is
// shared between processes.
const (
	futexWake       = 1
	futexWaitBitset = 9
	futexMatchAny   = 0xffffffff
)

// FutexWait sleeps while the word at addr has the value val, at most until
// deadline, a CLOCK_MONOTONIC time; a negative deadline means for ever. It
// returns 0, EAGAIN (the word had another value), ETIMEDOUT or EINTR: the
// caller looks at the word again in any case.
//
// It goes through the runtime's system call entry, so that garbage collection
// does not wait for this thread.
func FutexWait(addr unsafe.Pointer, val uint32, deadline time.Duration) unix.Errno {
	var ts unix.Timespec
	var p unsafe.Pointer
	if deadline >= 0 {
		ts = unix.NsecToTimespec(int64(deadline))
		p = unsafe.Pointer(&ts)
	}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(addr), futexWaitBitset,
		uintptr(val), uintptr(p), 0, futexMatchAny)
	return errno
}

// FutexWake wakes at most n waiters and returns how many it woke.
func FutexWake(addr unsafe.Pointer, n int) int {
	// Not a raw call: on one CPU the wake hands the CPU to the stub, and
	// this thread may not come back for a whole time slice.
	woken, _, _ := unix.Syscall(unix.SYS_FUTEX, uintptr(addr), futexWake, uintptr(n))
	return int(woken)
}
