package guest

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/wait"
)

// vforkWait is a parent's wait for its child to give the memory back.
type vforkWait struct {
	queue wait.Queue
	pid   int
	done  bool
}

// cloneKnown are the flags that mean something here; the others are refused.
// CLONE_SYSVSEM, CLONE_DETACHED and CLONE_IO have nothing to act on.
const cloneKnown = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_VFORK | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID |
	unix.CLONE_CHILD_CLEARTID | unix.CLONE_CHILD_SETTID | unix.CLONE_SYSVSEM |
	unix.CLONE_DETACHED | unix.CLONE_IO | unix.CLONE_UNTRACED

// cloneArgs is what fork, vfork and clone have in common.
type cloneArgs struct {
	flags    uint64
	exitSig  int
	stack    arch.Addr // 0: the parent's
	tls      uint64
	parentID arch.Addr
	childID  arch.Addr
}

func sysFork(t *Task, _ args) (int64, unix.Errno) {
	return t.clone(cloneArgs{exitSig: int(unix.SIGCHLD)})
}

func sysVfork(t *Task, _ args) (int64, unix.Errno) {
	return t.clone(cloneArgs{flags: unix.CLONE_VM | unix.CLONE_VFORK, exitSig: int(unix.SIGCHLD)})
}

// sysClone has the argument order of amd64.
func sysClone(t *Task, a args) (int64, unix.Errno) {
	return t.clone(cloneArgs{
		flags:    a[0] &^ 0xff,
		exitSig:  int(a[0] & 0xff),
		stack:    a.addr(1),
		parentID: a.addr(2),
		childID:  a.addr(3),
		tls:      a[4],
	})
}

func (t *Task) clone(c cloneArgs) (int64, unix.Errno) {
	if v, ok := t.call.data.(*vforkWait); ok {
		return t.waitVfork(v)
	}
	switch {
	case c.flags&unix.CLONE_THREAD != 0:
		return 0, unix.EAGAIN // as if there were too many threads
	case c.flags&^cloneKnown != 0,
		c.flags&unix.CLONE_SIGHAND != 0 && c.flags&unix.CLONE_VM == 0,
		c.exitSig > numSignals:
		return 0, unix.EINVAL
	}
	child, e := t.spawn(c)
	if e != 0 {
		return 0, e
	}
	t.k.stats.Forks++
	if c.flags&unix.CLONE_PARENT_SETTID != 0 {
		_ = t.storeU32(c.parentID, uint32(child.pid)) // Linux ignores failure, too
	}
	t.k.traceChild(t, child)
	t.k.enqueue(child)
	if c.flags&unix.CLONE_VFORK == 0 {
		return int64(child.pid), 0
	}
	v := &vforkWait{pid: child.pid}
	child.vfork = v
	t.call.data = v
	return t.waitVfork(v)
}

// waitVfork sleeps until the child has called execve or is gone. Only a fatal
// signal ends it early: the two tasks share a stack.
func (t *Task) waitVfork(v *vforkWait) (int64, unix.Errno) {
	if v.done {
		return int64(v.pid), 0
	}
	return t.blockKillable(&v.queue)
}

// spawn makes a copy of t that is ready to run.
func (t *Task) spawn(c cloneArgs) (*Task, unix.Errno) {
	child, e := t.k.newTask()
	if e != 0 {
		return nil, e
	}
	if c.flags&unix.CLONE_VM != 0 {
		t.space.ref()
		child.space = t.space
	} else {
		sp, err := t.space.fork()
		if err != nil {
			delete(t.k.tasks, child.pid)
			t.k.log.Debug("fork", "pid", t.pid, "err", err)
			var errno unix.Errno
			if errors.As(err, &errno) {
				return nil, errno
			}
			return nil, unix.ENOMEM
		}
		child.space = sp
	}

	t.saveX()
	child.regs = t.regs
	child.regs.X = slices.Clone(t.regs.X)
	t.k.arch.SetResult(&child.regs, 0)
	if c.stack != 0 {
		t.k.arch.SetSP(&child.regs, c.stack)
	}
	if c.flags&unix.CLONE_SETTLS != 0 {
		child.regs.FSBase = c.tls
	}

	child.parent = t
	t.children = append(t.children, child)
	child.pgid, child.sid, child.exitSig = t.pgid, t.sid, c.exitSig
	child.comm, child.exe, child.cmdline = t.comm, t.exe, t.cmdline
	child.dumpable, child.rlimits = t.dumpable, t.rlimits
	child.blocked, child.trap = t.blocked, t.trap
	if t.haveSaved {
		child.blocked = t.savedMask
	}
	if c.flags&unix.CLONE_VM == 0 || c.flags&unix.CLONE_VFORK != 0 {
		child.altBase, child.altSize, child.altFlags = t.altBase, t.altSize, t.altFlags
	}
	child.sig = t.sig
	if c.flags&unix.CLONE_SIGHAND == 0 {
		child.sig = t.sig.clone()
	}
	child.fs = t.fs
	if c.flags&unix.CLONE_FS == 0 {
		fs := *t.fs
		child.fs = &fs
	}
	if c.flags&unix.CLONE_FILES != 0 {
		child.files = t.files.ref()
	} else {
		child.files = t.files.fork()
	}
	if c.flags&unix.CLONE_CHILD_CLEARTID != 0 {
		child.clearTID = c.childID
	}
	if c.flags&unix.CLONE_CHILD_SETTID != 0 {
		_ = child.storeU32(c.childID, uint32(child.pid))
	}
	return child, 0
}

// blockKillable is block for waits that only the end of the task may cut
// short.
func (t *Task) blockKillable(q *wait.Queue) (int64, unix.Errno) {
	if t.fatal != 0 || t.pending&sigBit(int(unix.SIGKILL)) != 0 {
		return 0, errRestartNoIntr
	}
	t.waitOn(q)
	t.state = taskBlocked
	t.nvcsw++
	return 0, errBlocked
}
