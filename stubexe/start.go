package stubexe

import (
	"fmt"
	"syscall"

	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// memFD is the number under which a stub gets the memory's descriptor; its
// descriptor 0 is the socket.
const memFD = 3

// closed marks a descriptor that the child must not have (syscall.ProcAttr).
const closed = ^uintptr(0)

// Process is a started stub.
type Process struct {
	PID   int
	PIDFD int
	Sock  int // the monitor's end of the stub's socket
}

// Start runs the image as a new stub whose pages lie in the memory behind mem.
// init's descriptor numbers are filled in here.
//
// It must be called on a thread that lives as long as the stubs should: the
// stub asks to be killed when the thread that forked it ends (PR_SET_PDEATHSIG).
func (i *Image) Start(mem int, init stubabi.InitData) (p Process, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return p, fmt.Errorf("make stub socket: %w", err)
	}
	defer unix.Close(pair[0])
	defer func() {
		if err != nil {
			unix.Close(pair[1])
		}
	}()

	init.Seccomp, init.CodeFD, init.DataFD = 1, memFD, memFD
	if n, err := unix.Write(pair[1], init.Bytes()); err != nil || n != stubabi.InitSize {
		return p, fmt.Errorf("write stub init data: %d bytes, %w", n, err)
	}
	var pidfd int
	pid, err := syscall.ForkExec(i.path, []string{"uml-userspace"}, &syscall.ProcAttr{
		Files: []uintptr{uintptr(pair[0]), closed, closed, uintptr(mem)},
		Sys: &syscall.SysProcAttr{
			// Also set by the stub itself, as UML's does; here it covers
			// the time until then.
			Pdeathsig: syscall.SIGKILL,
			// A terminal's signals are for the monitor alone.
			Setpgid: true,
			PidFD:   &pidfd,
		},
	})
	if err != nil {
		return p, fmt.Errorf("start stub (%s must be readable and executable): %w", i.path, err)
	}
	if pidfd < 0 {
		return p, fmt.Errorf("start stub: no pidfd (needs Linux 5.4)")
	}
	// A stub that dies of a signal is no reason for a core file. If it is
	// gone already, its death is noticed elsewhere.
	_ = sys.SetRlimitCore(pid)
	return Process{PID: pid, PIDFD: pidfd, Sock: pair[1]}, nil
}
