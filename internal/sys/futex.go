package sys

import (
	"time"
	"unsafe"

	"goskas/internal/abi"

	"golang.org/x/sys/unix"
)

// All calls are without FUTEX_PRIVATE_FLAG: the word is shared between processes.

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
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(addr), abi.FUTEX_WAIT_BITSET,
		uintptr(val), uintptr(p), 0, abi.FUTEX_BITSET_MATCH_ANY)
	return errno
}

// FutexWake wakes at most n waiters and returns how many it woke.
func FutexWake(addr unsafe.Pointer, n int) int {
	// Not a raw call: on one CPU the wake hands the CPU to the stub, and
	// this thread may not come back for a whole time slice.
	woken, _, _ := unix.Syscall(unix.SYS_FUTEX, uintptr(addr), abi.FUTEX_WAKE, uintptr(n))
	return int(woken)
}

// FutexSetAndWake stores val in the word and wakes a waiter, at one moment: if
// it returns 1, the waiter was asleep when the word got its value. (A store that
// a wake follows says nothing: the waiter may have changed the word between the
// two, and have gone to sleep on that.) val is at most 2047. An error means that
// the word has not been stored.
func FutexSetAndWake(addr unsafe.Pointer, val uint32) (int, error) {
	// The word is its own second word. The wake-up that depends on its old
	// value finds nobody that the first has not woken.
	const cmpArg = 0x800 // -2048
	op := uintptr(abi.FUTEX_OP_SET<<28 | abi.FUTEX_OP_CMP_LT<<24 | val&0xfff<<12 | cmpArg)
	// Not a raw call: see FutexWake.
	woken, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(addr), abi.FUTEX_WAKE_OP, 1, 0, uintptr(addr), op)
	if errno != 0 {
		return 0, errno
	}
	return int(woken), nil
}
