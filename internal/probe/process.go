package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"goskas/internal/elfimage"
	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// exitStatus is what the test programs end with.
const exitStatus = 42

// The test programs call exit, as amd64 does, the same after they have stopped
// themselves, and as 386 does. All are 64-bit programs otherwise.
var (
	exit64 = []byte{
		0xbf, exitStatus, 0, 0, 0, // mov edi, 42
		0xb8, 60, 0, 0, 0, // mov eax, SYS_exit
		0x0f, 0x05, // syscall
		0x0f, 0x0b, // ud2
	}
	stop64 = append([]byte{
		0xb8, 39, 0, 0, 0, // mov eax, SYS_getpid
		0x0f, 0x05, // syscall
		0x89, 0xc7, // mov edi, eax
		0xbe, 19, 0, 0, 0, // mov esi, SIGSTOP
		0xb8, 62, 0, 0, 0, // mov eax, SYS_kill
		0x0f, 0x05, // syscall
	}, exit64...)
	exit32 = []byte{
		0xbb, exitStatus, 0, 0, 0, // mov ebx, 42
		0xb8, 1, 0, 0, 0, // mov eax, exit
		0xcd, 0x80, // int 0x80
		0x0f, 0x0b, // ud2
	}
)

const textAt = 0x400000

// start runs code as a program from a sealed memfd. If it is bound it ends with
// this thread, at the latest.
func start(code []byte, bound bool) (*os.Process, error) {
	image := elfimage.Static(elf.EM_X86_64, textAt, elfimage.Segment{
		Addr: textAt, Flag: elf.PF_R | elf.PF_X, Data: code, Size: uint64(len(code)),
	})
	fd, err := sys.SealedExec("skas-probe", image)
	if err != nil {
		return nil, lackOn(err, unix.ENOSYS, unix.EINVAL, unix.EACCES)
	}
	defer unix.Close(fd)
	attr := &syscall.SysProcAttr{}
	if bound {
		attr.Pdeathsig = syscall.SIGKILL
	}
	p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"skas-probe"}, &os.ProcAttr{Sys: attr})
	if err != nil {
		return nil, lackOn(err, unix.ENOENT, unix.EACCES, unix.EPERM, unix.ENOEXEC)
	}
	return p, nil
}

func amd64Host() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the test is for amd64, this is %s", runtime.GOARCH)
	}
	return nil
}

// exits runs code and wants its status.
func exits(code []byte) (string, error) {
	if err := amd64Host(); err != nil {
		return "", err
	}
	p, err := start(code, false)
	if err != nil {
		return "", err
	}
	state, err := p.Wait()
	if err != nil {
		return "", err
	}
	if state.ExitCode() != exitStatus {
		return "", lack(fmt.Errorf("a test program ended with %v, not status %d", state, exitStatus))
	}
	return "", nil
}

// MemfdExec is running a program from a sealed memfd, by way of /proc.
var MemfdExec = Feature{
	Name: "programs in sealed memfds", Since: Version{3, 17}, Varies: true,
	Advice: "mount /proc; set the sysctl vm.memfd_noexec to 0 or 1",
	test:   func() (string, error) { return exits(exit64) },
}

// IA32 is running system calls of 386.
var IA32 = Feature{
	Name: "32-bit system calls", Varies: true,
	Advice: "use a kernel with CONFIG_IA32_EMULATION, without ia32_emulation=0",
	test:   func() (string, error) { return exits(exit32) },
}

// PtraceSysemu is UML's older way to catch system calls.
var PtraceSysemu = Feature{
	Name: "PTRACE_SYSEMU", Varies: true,
	Advice: "in a container, allow ptrace(2); set the sysctl kernel.yama.ptrace_scope below 2",
	test: func() (string, error) {
		if err := amd64Host(); err != nil {
			return "", err
		}
		// The tracer is the thread that forks.
		return "", onThread(sysemu)
	},
}

func sysemu() error {
	p, err := start(stop64, true)
	if err != nil {
		return err
	}
	defer func() {
		p.Kill()
		p.Wait()
	}()
	stop := func(what string, want int) error {
		got, err := sys.WaitStopped(p.Pid)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if got != want {
			return fmt.Errorf("stop %#x instead of %s", got, what)
		}
		return nil
	}
	const eventStop = 128 << 8 // PTRACE_EVENT_STOP
	if err := stop("a stop of its own", int(unix.SIGSTOP)); err != nil {
		return err
	}
	if err := sys.PtraceSeize(p.Pid); err != nil {
		return lackOn(err, unix.EIO, unix.EINVAL, unix.EPERM)
	}
	if err := stop("the tracer's stop", eventStop|int(unix.SIGSTOP)); err != nil {
		return err
	}
	if err := sys.PtraceSysemu(p.Pid, 0); err != nil {
		return lackOn(err, unix.EIO, unix.EINVAL)
	}
	if err := stop("a system call", int(unix.SIGTRAP)|0x80); err != nil {
		return lack(err)
	}
	return nil
}

// Pidfds is everything that the reaper does with them, and no more.
var Pidfds = Feature{
	Name: "pidfds", Since: Version{5, 4},
	Advice: "use a newer kernel; in a container, allow pidfd_open(2)",
	test: func() (string, error) {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			return "", lackOn(err, unix.ENOSYS)
		}
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
			return "", lackOn(err, unix.ENOSYS)
		}
		// We are no child of ours, but the request must be understood.
		if err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil); err != unix.ECHILD {
			return "", lackOn(fmt.Errorf("waitid: %w", err), unix.EINVAL)
		}
		return "", nil
	},
}

// PidfdGetfd is taking a descriptor out of another process.
var PidfdGetfd = Feature{
	Name: "pidfd_getfd", Since: Version{5, 6},
	Advice: "use a newer kernel; in a container, allow pidfd_getfd(2)",
	test: func() (string, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		defer r.Close()
		defer w.Close()
		pid, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			return "", lackOn(err, unix.ENOSYS)
		}
		defer unix.Close(pid)
		fd, err := unix.PidfdGetfd(pid, int(r.Fd()), 0)
		if err != nil {
			return "", lackOn(err, unix.ENOSYS)
		}
		return "", unix.Close(fd)
	},
}

// Pinning is giving a thread one CPU, here the one that it may use already.
var Pinning = Feature{
	Name: "pinning threads to CPUs", Varies: true,
	Advice: "allow sched_setaffinity(2); without it every round trip crosses CPUs",
	test: func() (note string, err error) {
		err = onThread(func() error {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(0, &set); err != nil {
				return err
			}
			note = fmt.Sprintf("%d CPUs", set.Count())
			cpu, err := sys.CurrentCPU()
			if err != nil {
				return err
			}
			return lackOn(sys.SetAffinity(0, cpu), unix.EPERM, unix.ENOSYS, unix.EINVAL)
		})
		return note, err
	},
}

// Fewest processes and descriptors that a guest of a few dozen processes
// needs; a stub costs one and two.
const (
	minProcesses = 64
	minFiles     = 256
)

// Limits is room for stubs.
var Limits = Feature{
	Name: "room for processes and descriptors", Varies: true,
	Advice: fmt.Sprintf("raise ulimit -u to %d and ulimit -n to %d at least", minProcesses, minFiles),
	test: func() (string, error) {
		var processes, files unix.Rlimit
		if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NPROC, &processes), unix.Getrlimit(unix.RLIMIT_NOFILE, &files)); err != nil {
			return "", err
		}
		note := fmt.Sprintf("%s processes, %s descriptors", limit(processes.Cur), limit(files.Cur))
		if processes.Cur < minProcesses || files.Cur < minFiles {
			return "", lack(errors.New(note))
		}
		return note, nil
	},
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n)
}
