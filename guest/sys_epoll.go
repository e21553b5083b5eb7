package guest

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

func sysEventfd(t *Task, a args) (int64, unix.Errno) { return sysEventfd2(t, args{a[0], 0}) }

func sysEventfd2(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(1)
	if flags&^(unix.EFD_SEMAPHORE|unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	f := vfs.NewEventfd(uint64(a.u32(0)), flags&unix.EFD_SEMAPHORE != 0)
	return t.installNew(f, flags)
}

// installNew gives a file that was made without a name a descriptor, with
// O_NONBLOCK and O_CLOEXEC from flags.
func (t *Task) installNew(f vfs.File, flags int) (int64, unix.Errno) {
	return t.install(newOpenFile(f, unix.O_RDWR|flags&unix.O_NONBLOCK, nil), flags&unix.O_CLOEXEC != 0)
}

// Layout of struct epoll_event, which amd64 packs (linux/eventpoll.h).
const (
	epollEventSize = 12
	epollData      = 4
	maxEpollEvents = math.MaxInt32 / epollEventSize
)

func sysEpollCreate(t *Task, a args) (int64, unix.Errno) {
	if a.int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return t.installNew(vfs.NewEpoll(), 0)
}

func sysEpollCreate1(t *Task, a args) (int64, unix.Errno) {
	if a.int(0)&^unix.EPOLL_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	return t.installNew(vfs.NewEpoll(), a.int(0))
}

// fileAs is what a descriptor stands for, if it is of type F; EINVAL otherwise.
func fileAs[F vfs.File](t *Task, fd int) (f F, _ unix.Errno) {
	o, e := t.file(fd)
	if e != 0 {
		return f, e
	}
	f, ok := o.File.(F)
	if !ok {
		return f, unix.EINVAL
	}
	return f, 0
}

func sysEpollCtl(t *Task, a args) (int64, unix.Errno) {
	op, fd := a.int(1), a.int(2)
	var ev [epollEventSize]byte
	if op != unix.EPOLL_CTL_DEL {
		if e := t.copyIn(a.addr(3), ev[:]); e != 0 {
			return 0, e
		}
	}
	if _, e := t.file(a.int(0)); e != 0 {
		return 0, e
	}
	target, e := t.file(fd)
	switch {
	case e != 0:
		return 0, e
	case target.Flags&unix.O_PATH != 0:
		return 0, unix.EBADF
	case target.File.Queue() == nil:
		return 0, unix.EPERM
	}
	ep, e := fileAs[*vfs.Epoll](t, a.int(0))
	if e != 0 {
		return 0, e
	}
	events, data := le.Uint32(ev[:]), le.Uint64(ev[epollData:])
	switch op {
	case unix.EPOLL_CTL_ADD:
		return 0, errnoOf(ep.Add(target, fd, events, data))
	case unix.EPOLL_CTL_MOD:
		return 0, errnoOf(ep.Modify(target, fd, events, data))
	case unix.EPOLL_CTL_DEL:
		return 0, errnoOf(ep.Delete(target, fd))
	}
	return 0, unix.EINVAL
}

func sysEpollWait(t *Task, a args) (int64, unix.Errno) {
	if ms := a.int(3); ms >= 0 {
		t.setTimeout(time.Duration(ms) * time.Millisecond)
	}
	return t.epollWait(a.int(0), a.addr(1), a.int(2))
}

func sysEpollPwait(t *Task, a args) (int64, unix.Errno) {
	if e := t.pollPrepare(0, a.addr(4), a[5]); e != 0 {
		return 0, e
	}
	return sysEpollWait(t, a)
}

func sysEpollPwait2(t *Task, a args) (int64, unix.Errno) {
	if e := t.pollPrepare(a.addr(3), a.addr(4), a[5]); e != 0 {
		return 0, e
	}
	return t.epollWait(a.int(0), a.addr(1), a.int(2))
}

func (t *Task) epollWait(fd int, at arch.Addr, limit int) (int64, unix.Errno) {
	if limit <= 0 || limit > maxEpollEvents {
		return 0, unix.EINVAL
	}
	ep, e := fileAs[*vfs.Epoll](t, fd)
	if e != 0 {
		return 0, e
	}
	n := 0
	ep.Collect(limit, func(events uint32, data uint64) bool {
		var ev [epollEventSize]byte
		le.PutUint32(ev[:], events)
		le.PutUint64(ev[epollData:], data)
		if e = t.copyOut(at+arch.Addr(n*epollEventSize), ev[:]); e == 0 {
			n++
		}
		return e == 0
	})
	switch {
	case n > 0:
		return int64(n), 0
	case e != 0:
		return 0, e
	case t.expired():
		return 0, 0
	}
	// A signal ends the wait in every case (fs/eventpoll.c).
	return t.block(unix.EINTR, ep.Queue())
}
