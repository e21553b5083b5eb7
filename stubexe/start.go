package stubexe

import (
	"fmt"
	"syscall"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// closed marks a descriptor that the child must not have (syscall.ProcAttr).
const closed = ^uintptr(0)

// Orders is what a new stub is started with.
type Orders struct {
	FDs  []int  // become stubabi.FirstFD and up
	Init []byte // what its start-up program reads from descriptor 0
}

// Process is a started stub.
type Process struct {
	PID   int
	PIDFD int
	Sock  int // the monitor's end of the stub's socket
}

// Start runs the image as a new stub.
//
// It must be called on a thread that lives as long as the stubs should: the
// stub asks to be killed when the thread that forked it ends (PR_SET_PDEATHSIG).
func (i *Image) Start(o Orders) (p Process, err error) {
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

	if n, err := unix.Write(pair[1], o.Init); err != nil || n != len(o.Init) {
		return p, fmt.Errorf("write stub init data: %d bytes, %w", n, err)
	}
	files := []uintptr{uintptr(pair[0]), closed, closed}
	for _, fd := range o.FDs {
		files = append(files, uintptr(fd))
	}
	var pidfd int
	pid, err := syscall.ForkExec(i.path, []string{"uml-userspace"}, &syscall.ProcAttr{
		Files: files,
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
