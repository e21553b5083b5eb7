package sys

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PollPair is a wait for either of two descriptors that allocates nothing.
type PollPair [2]unix.PollFd

// Wait waits until one of the descriptors has something to say, at most for d;
// 0 does not wait. It returns how many have. EINTR is returned.
func (p *PollPair) Wait(d time.Duration) (int, unix.Errno) {
	ts := unix.NsecToTimespec(int64(d))
	n, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(p)), uintptr(len(p)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return int(n), errno
}
