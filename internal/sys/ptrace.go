package sys

import "golang.org/x/sys/unix"

// PtraceSysemu lets a stopped tracee go on to its next system call, which is
// reported and not made (PTRACE_SYSEMU). The caller's thread must be the
// tracer. The call does not block.
func PtraceSysemu(pid int, sig unix.Signal) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SYSEMU, uintptr(pid), 0, uintptr(sig), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
