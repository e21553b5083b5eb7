package probe

import (
	"errors"
	"fmt"
	"time"

	"goskas/internal/abi"
	"goskas/internal/bpf"
	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// testCall is a number that is no system call on any architecture; filters of
// this package look at nothing else.
const testCall = 100000

// testFilter answers testCall with an action.
func testFilter(a bpf.Action) ([]unix.SockFilter, error) {
	b := bpf.New()
	b.Load(bpf.NR)
	b.Jump(bpf.Eq, testCall, "test", bpf.Next)
	b.Ret(bpf.Allow)
	b.Label("test")
	b.Ret(a)
	p, err := b.Program()
	if err != nil {
		return nil, err
	}
	return p.Insns, nil
}

// SeccompTrap is the filter that makes a stub: it works, and knows RET_TRAP and
// RET_KILL_PROCESS.
var SeccompTrap = Feature{
	Name: "seccomp filter with TRAP", Since: Version{4, 14},
	Advice: "use a kernel with CONFIG_SECCOMP_FILTER; in a container, allow seccomp(2)",
	test: func() (string, error) {
		for _, a := range []bpf.Action{bpf.Trap, bpf.KillProcess} {
			if err := sys.SeccompActionAvailable(uint32(a)); err != nil {
				return "", lackOn(fmt.Errorf("%v: %w", a, err), unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP)
			}
		}
		const want = unix.EXDEV // no system call that does not exist gives this
		filter, err := testFilter(bpf.Errno(want))
		if err != nil {
			return "", err
		}
		return "", onThread(func() error {
			if _, err := sys.SeccompFilter(0, filter); err != nil {
				return lackOn(err, unix.ENOSYS, unix.EINVAL)
			}
			if _, err := sys.SeccompTestCall(testCall); err != want {
				return lack(fmt.Errorf("a filtered call gave %v, not %v", err, want))
			}
			return nil
		})
	},
}

// flags asks for flags of seccomp(2).
func flags(f int) func() (string, error) {
	return func() (string, error) {
		return "", lackOn(sys.SeccompFlags(f), unix.ENOSYS, unix.EINVAL)
	}
}

// SeccompTSync is a filter for all threads at once.
var SeccompTSync = Feature{
	Name: "seccomp TSYNC", Since: Version{3, 17},
	Advice: SeccompTrap.Advice,
	test:   flags(unix.SECCOMP_FILTER_FLAG_TSYNC),
}

// SeccompTSyncListener is TSYNC together with a listener.
var SeccompTSyncListener = Feature{
	Name: "seccomp TSYNC_ESRCH with a listener", Since: Version{5, 7},
	Advice: "use a newer kernel",
	test: flags(unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER),
}

// UserNotif is a listener that lets a call go on.
var UserNotif = Feature{
	Name: "seccomp user notification with CONTINUE", Since: Version{5, 5},
	Advice: "use a newer kernel; in a container, allow seccomp(2)",
	test: func() (string, error) {
		return "", withListener(func(listener int) error {
			return serve(listener, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
		})
	},
}

// UserNotifSyncWakeUp is a listener that hands its CPU over.
var UserNotifSyncWakeUp = Feature{
	Name: "seccomp notification on one CPU (SYNC_WAKE_UP)", Since: Version{6, 6},
	Advice: "use a newer kernel; without it notifications are slower",
	test: func() (string, error) {
		return "", withListener(func(listener int) error {
			if err := sys.NotifSyncWakeUp(listener); err != nil {
				return lackOn(err, unix.EINVAL, unix.ENOTTY)
			}
			return serve(listener, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
		})
	},
}

// timeout bounds the wait for something that is sure to come.
const timeout = 10 * time.Second

// withListener puts a thread under a filter with a listener, lets it make
// testCall, and gives the listener to f, which has to answer the call.
func withListener(f func(listener int) error) error {
	filter, err := testFilter(bpf.UserNotif)
	if err != nil {
		return err
	}
	listener := make(chan int, 1)
	called := make(chan error, 1)
	go func() {
		called <- onThread(func() error {
			fd, err := sys.SeccompFilter(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, filter)
			if err != nil {
				close(listener)
				return lackOn(err, unix.ENOSYS, unix.EINVAL)
			}
			listener <- fd
			// Let go on, it is a call that does not exist; with the
			// listener closed it is the same.
			if _, err := sys.SeccompTestCall(testCall); err != unix.ENOSYS {
				return fmt.Errorf("a notified call gave %v, not %v", err, unix.ENOSYS)
			}
			return nil
		})
	}()
	fd, ok := <-listener
	if !ok {
		return <-called
	}
	err = f(fd)
	// Closing also ends the call if f did not.
	unix.Close(fd)
	return errors.Join(err, <-called)
}

// serve answers one call.
func serve(listener int, flags uint32) error {
	ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	for deadline := time.Now().Add(timeout); ; {
		n, err := unix.Poll(ready, int(time.Until(deadline).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("no notification in %v: %v", timeout, err)
		}
		break
	}
	var n abi.SeccompNotif
	for {
		err := sys.NotifRecv(listener, &n)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("receive notification: %w", err)
		}
	}
	if n.Data.NR != testCall {
		return fmt.Errorf("notified of call %d, not %d", n.Data.NR, testCall)
	}
	err := sys.NotifSend(listener, &abi.SeccompNotifResp{ID: n.ID, Flags: flags})
	return lackOn(err, unix.EINVAL)
}
