package skas

import (
	"fmt"

	"goskas/guard"
	"goskas/internal/abi"
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// listener answers the mapping calls that a stub's filter sends to the monitor.
// It belongs to whoever holds the mm's turnstile.
type listener struct {
	fd    int
	word  *stubabi.Word // the stub's
	guard guard.Guard
	poll  sys.PollPair
	reply abi.SeccompNotifResp
	call  abi.SeccompNotif
}

// takeListener gets the stub's listener. The stub cannot send it, since all its
// system calls trap by then; its own copy is of no use to it, since ioctl is
// not on its list.
func (x *MM) takeListener(word *stubabi.Word) error {
	g := x.mon.guard
	fd, err := unix.PidfdGetfd(x.proc.PIDFD, stubabi.ListenerFD, 0)
	if err != nil {
		return fmt.Errorf("take the filter's listener from stub %d (pidfd_getfd, Linux 5.6; the stub must be traceable): %w", x.proc.PID, err)
	}
	if x.mon.syncWake {
		if err := sys.NotifSyncWakeUp(fd); err != nil {
			unix.Close(fd)
			return fmt.Errorf("make the listener's answers wake on the same CPU (Linux 6.6; can be switched off): %w", err)
		}
	}
	l := &listener{fd: fd, word: word, guard: g}
	l.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	l.poll[1] = unix.PollFd{Fd: int32(x.proc.PIDFD), Events: unix.POLLIN}
	x.listener = l
	return nil
}

func (l *listener) close() { unix.Close(l.fd) }

// serve answers the calls of the batch that the stub has just been woken for,
// in order (the seeds' serve_mmaps). A call that is not the next one of the
// batch is answered like any other, but not counted: a hijacked stub that slips
// one in between does not make the monitor miss the rest.
//
// It ends early if the stub reports instead of calling, and looks at the stub
// as often as a wait does.
func (l *listener) serve(x *MM, v *VCPU) error {
	for _, e := range x.queue.Entries() {
		if !l.routes(e.Kind) {
			continue
		}
		for {
			got, err := l.next(x, v)
			if err != nil {
				return err
			}
			if !got {
				return nil
			}
			l.answer(x)
			if l.is(e) {
				x.advanced()
				break
			}
		}
	}
	return nil
}

func (l *listener) routes(k stubabi.Kind) bool {
	for _, r := range l.guard.Routed {
		if r == k {
			return true
		}
	}
	return false
}

// next waits for a call; false means that the stub has reported.
func (l *listener) next(x *MM, v *VCPU) (bool, error) {
	for {
		n, errno := l.poll.Wait(max(0, x.nextLook(v)-hostNow()))
		switch {
		case errno != 0 && errno != unix.EINTR:
			return false, x.refuse("poll the listener: %v", errno)
		case n > 0 && l.poll[1].Revents != 0:
			return false, nil // dead: wait knows how
		case n > 0:
			got, err := l.receive(x)
			if got || err != nil {
				return got, err
			}
		default:
			if err := x.look(v); err != nil {
				return false, err
			}
		}
		if l.word.Get() != stubabi.InChild {
			return false, nil
		}
	}
}

// receive takes a call that poll has announced; false means that its caller
// has died meanwhile.
func (l *listener) receive(x *MM) (bool, error) {
	switch err := sys.NotifRecv(l.fd, &l.call); err {
	case nil:
		return true, nil
	case unix.EINTR, unix.ENOENT, unix.ENOTCONN:
		return false, nil
	default:
		return false, x.refuse("receive a notification: %v", err)
	}
}

// drain answers calls that a stub makes out of any batch: it suspends in the
// kernel with them and does not flip the word.
func (l *listener) drain(x *MM) error {
	for {
		n, errno := l.poll.Wait(0)
		if errno == unix.EINTR {
			continue
		}
		if n == 0 || l.poll[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		got, err := l.receive(x)
		if !got || err != nil {
			return err
		}
		l.answer(x)
	}
}

// request is the received call in the guard's terms.
func (l *listener) request(x *MM) guard.Call {
	a := l.call.Data.Args
	c := guard.Call{Kind: stubabi.Mmap, Addr: a[0], Length: a[1], Prot: a[2], Flags: a[3], Offset: a[5]}
	if x.mon.arch.IsMunmap(uint64(l.call.Data.NR)) {
		c = guard.Call{Kind: stubabi.Munmap, Addr: a[0], Length: a[1]}
	}
	return c
}

// is reports whether the received call is the entry e of a batch.
func (l *listener) is(e stubabi.Entry) bool {
	a := l.call.Data.Args
	if a[0] != e.Addr || a[1] != e.Length {
		return false
	}
	return e.Kind == stubabi.Munmap || a[2] == uint64(e.Prot) && a[5] == e.Offset
}

// answer lets the received call go on, or ends it with EPERM. The arguments of
// both calls are numbers that the kernel has already read: what was checked is
// what runs.
func (l *listener) answer(x *MM) {
	c := l.request(x)
	reason := l.guard.Check(c, x.table)
	x.mon.stats.notified.Add(1)
	x.forward.calls++
	l.reply = abi.SeccompNotifResp{ID: l.call.ID}
	if reason == "" {
		l.reply.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	} else {
		x.mon.stats.denied.Add(1)
		x.mon.log.Warn("mapping call denied", "pid", x.proc.PID, "call", c.Kind.String(),
			"addr", fmt.Sprintf("%#x", c.Addr), "length", fmt.Sprintf("%#x", c.Length),
			"offset", fmt.Sprintf("%#x", c.Offset), "reason", reason)
		l.reply.Error = -int32(unix.EPERM)
	}
	err := sys.NotifSend(l.fd, &l.reply)
	for err == unix.EINTR {
		err = sys.NotifSend(l.fd, &l.reply)
	}
	// ENOENT: the caller was interrupted or killed; it will ask again, or not.
	if err != nil && err != unix.ENOENT {
		x.mon.log.Warn("answer to a mapping call not taken", "pid", x.proc.PID, "err", err)
	}
}
