package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"goskas/internal/abi"

	"golang.org/x/sys/unix"
)

// Reap waits for the child behind a pidfd, which must have exited, and takes
// its status. EINTR is retried.
func Reap(pidfd int) (Status, error) {
	var info siginfoChild
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(pidfd),
			uintptr(unsafe.Pointer(&info)), unix.WEXITED, 0, 0)
		switch errno {
		case 0:
			return Status{Code: info.Code, Value: info.Status}, nil
		case unix.EINTR:
		default:
			return Status{}, errno
		}
	}
}

// ReapGroup kills the process group of an exited child, and reaps all of it that
// are children of ours. It returns the status of that child, which must not have
// been reaped before: that keeps the group's number its own.
func ReapGroup(leader int) (Status, error) {
	if err := unix.Kill(-leader, unix.SIGKILL); err != nil {
		return Status{}, err
	}
	var status Status
	for {
		var info siginfoChild
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PGID, uintptr(leader), uintptr(unsafe.Pointer(&info)), unix.WEXITED, 0, 0)
		switch {
		case errno == 0 && info.PID == int32(leader):
			status = Status{Code: info.Code, Value: info.Status}
		case errno == 0 || errno == unix.EINTR:
		case errno == unix.ECHILD && status != Status{}:
			return status, nil
		default:
			return Status{}, errno
		}
	}
}

// siginfoChild is the SIGCHLD form of siginfo_t (asm-generic/siginfo.h).
type siginfoChild struct {
	Signo, Errno, Code, _ int32
	PID, UID, Status      int32
	_                     [100]byte
}

// Status says how a process ended (waitid's si_code and si_status).
type Status struct {
	Code  int32
	Value int32
}

// Exited reports whether the process called exit; Value is its status then,
// else the signal that killed it.
func (s Status) Exited() bool { return s.Code == abi.CLD_EXITED }

// SetAffinity pins a thread (0: the calling one) to one CPU.
func SetAffinity(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(tid, &set)
}

// SetRlimitCore forbids a process to dump core.
func SetRlimitCore(pid int) error {
	return unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
}

// CurrentCPU is the CPU that the calling thread runs on.
func CurrentCPU() (int, error) {
	var cpu uint32
	_, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(cpu), nil
}

// ProcessCPU is the CPU time that all threads of a process have used, from its
// CPU clock (clock_getcpuclockid(3): the clock's number holds the pid).
func ProcessCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, kernel/time/posix-cpu-timers.c
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// Yield lets another thread of this CPU run.
func Yield() { unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// Sleeps reports whether a process of one thread sleeps in an interruptible
// system call, and which signals it blocks, as a mask (proc_pid_status(5)). It
// allocates nothing.
func Sleeps(pid int) (sleeps bool, blocked uint64, err error) {
	var path [32]byte // "/proc/PID/status", with its NUL
	_ = append(strconv.AppendInt(append(path[:0], "/proc/"...), int64(pid), 10), "/status"...)
	at := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return false, 0, errno
	}
	defer unix.Close(int(fd))
	var text [2048]byte
	n, _, errno := unix.Syscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
	if errno != 0 {
		return false, 0, errno
	}
	state, ok := statusField(text[:n], "\nState:\t")
	mask, ok2 := statusField(text[:n], "\nSigBlk:\t")
	if !ok || !ok2 || len(mask) < 16 {
		return false, 0, errStatus
	}
	for _, c := range mask[:16] {
		digit := uint64(c - '0')
		if c >= 'a' {
			digit = uint64(c-'a') + 10
		}
		blocked = blocked<<4 | digit
	}
	return state[0] == 'S', blocked, nil
}

var errStatus = errors.New("/proc/PID/status lacks State or SigBlk")

// statusField is what stands behind a name.
func statusField(text []byte, name string) ([]byte, bool) {
	for i := 0; i+len(name) < len(text); i++ {
		if string(text[i:i+len(name)]) == name {
			return text[i+len(name):], true
		}
	}
	return nil, false
}

// Stopped reports whether the child behind a pidfd is stopped by a signal now.
func Stopped(pidfd int) bool {
	var info siginfoChild
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(pidfd), uintptr(unsafe.Pointer(&info)),
		unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	return errno == 0 && info.PID != 0
}

// Exiting reports whether a process has begun to exit: it closes its files some
// time before its pidfd tells anybody. False without /proc.
func Exiting(pid int) bool {
	const flagsField, exiting = 6, 0x4 // of those behind the name; PF_EXITING, linux/sched.h
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= flagsField {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[flagsField]), 10, 64)
	return err == nil && flags&exiting != 0
}
