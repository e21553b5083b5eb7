package vfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostIoctl passes an ioctl on to the host. arg has the size that IoctlArg
// gives for cmd, so the host reads and writes no further.
func hostIoctl(fd int, cmd uint32, arg []byte) error {
	in, out, ok := IoctlArg(cmd)
	if !ok || len(arg) < max(in, out) {
		return unix.ENOTTY
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(&arg[0])))
	if errno != 0 {
		return errno
	}
	return nil
}
