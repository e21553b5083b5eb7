package sys

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SeccompFilter puts the calling thread under a filter for the rest of its
// life, and with SECCOMP_FILTER_FLAG_TSYNC the whole process. The thread needs
// no_new_privs or CAP_SYS_ADMIN. fd is the listener if the flags ask for one
// (SECCOMP_FILTER_FLAG_NEW_LISTENER, close-on-exec), else 0. The call does not
// block, so EINTR does not happen.
func SeccompFilter(flags int, filter []unix.SockFilter) (fd int, err error) {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// SeccompFlags asks whether the host knows flags of SeccompFilter, without
// installing anything: nil, EINVAL if it does not, ENOSYS without seccomp.
// Flags that need each other have to be asked for together.
func SeccompFlags(flags int) error {
	// The kernel looks at the flags before it copies the filter from
	// address 0, which fails.
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), 0)
	if errno == unix.EFAULT {
		return nil
	}
	return errno
}

// SeccompActionAvailable asks whether the host knows a filter's return value
// (SECCOMP_GET_ACTION_AVAIL, Linux 4.14): nil, EOPNOTSUPP if it does not.
func SeccompActionAvailable(action uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return errno
	}
	return nil
}

// SeccompTestCall makes the system call nr without arguments, for tests of what
// a filter does with it. It goes through the runtime: a listener may keep it.
func SeccompTestCall(nr int) (int, error) {
	r, _, errno := unix.Syscall(uintptr(nr), 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}
