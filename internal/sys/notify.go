package sys

import (
	"unsafe"

	"goskas/internal/abi"

	"golang.org/x/sys/unix"
)

// NotifRecv takes the next system call that waits at a listener; it blocks
// until there is one. n is overwritten. EINTR is returned, so that a caller
// with a tick to forward can; ENOENT means that the call was interrupted or its
// thread killed meanwhile.
func NotifRecv(listener int, n *abi.SeccompNotif) error {
	*n = abi.SeccompNotif{} // the kernel insists
	return notifIoctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
}

// NotifSend answers a system call. ENOENT means that nobody waits for the
// answer any more. The call does not block.
func NotifSend(listener int, r *abi.SeccompNotifResp) error {
	return notifIoctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(r))
}

// NotifSyncWakeUp tells the kernel that listener and target take turns on one
// CPU (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6). The call does not block.
func NotifSyncWakeUp(listener int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS,
		unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	if errno != 0 {
		return errno
	}
	return nil
}

func notifIoctl(listener int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
