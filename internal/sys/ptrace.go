package sys

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Only the thread that has seized a process may call these on it, and only
// while the process is stopped; ESRCH says that it is gone. None of them blocks.

// PtraceSeize makes the calling thread the tracer of a child, which does not stop
// for that. The child dies with the thread, and its system calls are told from
// traps (PTRACE_O_EXITKILL, Linux 3.8; PTRACE_O_TRACESYSGOOD).
func PtraceSeize(pid int) error {
	return ptrace(unix.PTRACE_SEIZE, pid, 0, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD)
}

// PtraceDetach gives a tracee up. If it has been stopped by SIGSTOP and not
// continued, it stays so, whatever it has done as a tracee.
func PtraceDetach(pid int) error { return ptrace(unix.PTRACE_DETACH, pid, 0, 0) }

// PtraceSysemu lets a tracee go on to its next system call, which is reported
// and not made, with a signal if sig is not 0.
func PtraceSysemu(pid int, sig unix.Signal) error { return resume(unix.PTRACE_SYSEMU, pid, sig) }

// PtraceCont lets a tracee go on, with a signal if sig is not 0.
func PtraceCont(pid int, sig unix.Signal) error { return resume(unix.PTRACE_CONT, pid, sig) }

// PtraceListen leaves a tracee that somebody has stopped (SIGSTOP) so until it is
// continued (SIGCONT).
func PtraceListen(pid int) error { return ptrace(unix.PTRACE_LISTEN, pid, 0, 0) }

// resume is not a raw call: on one CPU the kernel may hand it to the tracee.
func resume(request uintptr, pid int, sig unix.Signal) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, request, uintptr(pid), 0, uintptr(sig), 0, 0)
	return orNil(errno)
}

func ptrace(request uintptr, pid int, addr, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, uintptr(pid), addr, data, 0, 0)
	return orNil(errno)
}

// ptraceMem is for requests that read or write our memory. (A pointer must stay
// one until the system call itself.)
func ptraceMem(request uintptr, pid int, addr uintptr, data unsafe.Pointer) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, uintptr(pid), addr, uintptr(data), 0, 0)
	return orNil(errno)
}

func orNil(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// PtraceGetRegs reads all of struct user_regs_struct.
func PtraceGetRegs(pid int, user []byte) error {
	return ptraceMem(unix.PTRACE_GETREGS, pid, 0, unsafe.Pointer(&user[0]))
}

// PtraceSetRegs is the counterpart of PtraceGetRegs.
func PtraceSetRegs(pid int, user []byte) error {
	return ptraceMem(unix.PTRACE_SETREGS, pid, 0, unsafe.Pointer(&user[0]))
}

// PtraceGetRegset reads at most len(p) bytes of a register set (NT_*,
// linux/elf.h).
func PtraceGetRegset(pid, set int, p []byte) error { return regset(unix.PTRACE_GETREGSET, pid, set, p) }

// PtraceSetRegset is the counterpart of PtraceGetRegset.
func PtraceSetRegset(pid, set int, p []byte) error { return regset(unix.PTRACE_SETREGSET, pid, set, p) }

func regset(request uintptr, pid, set int, p []byte) error {
	iov := unix.Iovec{Base: &p[0], Len: uint64(len(p))}
	return ptraceMem(request, pid, uintptr(set), unsafe.Pointer(&iov))
}

// PtraceSiginfo reads the siginfo_t, 128 bytes, of the signal that a tracee has
// stopped for.
func PtraceSiginfo(pid int, info []byte) error {
	return ptraceMem(unix.PTRACE_GETSIGINFO, pid, 0, unsafe.Pointer(&info[:128][0]))
}

// PtraceSyscallArch is the AUDIT_ARCH_* value of the system call that a tracee
// has stopped for (PTRACE_GET_SYSCALL_INFO, Linux 5.3).
func PtraceSyscallArch(pid int) (uint32, error) {
	// The head of struct ptrace_syscall_info (linux/ptrace.h).
	var info struct {
		Op   uint8
		_    [3]uint8
		Arch uint32
		_    [80]uint8
	}
	const entry = 1 // PTRACE_SYSCALL_INFO_ENTRY
	err := ptraceMem(unix.PTRACE_GET_SYSCALL_INFO, pid, unsafe.Sizeof(info), unsafe.Pointer(&info))
	if err == nil && info.Op != entry {
		err = errors.New("not stopped at a system call")
	}
	return info.Arch, err
}

// WaitStopped waits for a child to stop and says how: the signal, with the kind
// of a ptrace event in bits 8 and up. It leaves dead children to Reap; ECHILD
// says that it is one. EINTR is retried.
func WaitStopped(pid int) (int, error) {
	var info siginfoChild
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(pid),
			uintptr(unsafe.Pointer(&info)), unix.WSTOPPED|unix.WALL, 0, 0)
		if errno != unix.EINTR {
			return int(info.Status), orNil(errno)
		}
	}
}
