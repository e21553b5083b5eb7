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
	tid   int
	done  bool
}

// cloneKnown are the flags that mean something here; the others are refused.
// CLONE_SYSVSEM, CLONE_DETACHED and CLONE_IO have nothing to act on.
const cloneKnown = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_THREAD | unix.CLONE_PARENT |
	unix.CLONE_VFORK | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID |
	unix.CLONE_CHILD_CLEARTID | unix.CLONE_CHILD_SETTID | unix.CLONE_SYSVSEM |
	unix.CLONE_DETACHED | unix.CLONE_IO | unix.CLONE_UNTRACED | unix.CLONE_PTRACE |
	unix.CLONE_CLEAR_SIGHAND

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
		flags:    a[0] & 0xffffff00, // the upper half is clone3's
		exitSig:  int(a[0] & 0xff),
		stack:    a.addr(1),
		parentID: a.addr(2),
		childID:  a.addr(3),
		tls:      a[4],
	})
}

// sysClone3 reads struct clone_args (linux/sched.h).
func sysClone3(t *Task, a args) (int64, unix.Errno) {
	const words = unix.CLONE_ARGS_SIZE_VER2 / 8
	size := a[1]
	switch {
	case size > arch.PageSize:
		return 0, unix.E2BIG
	case size < unix.CLONE_ARGS_SIZE_VER0:
		return 0, unix.EINVAL
	}
	raw := make([]byte, max(size, 8*words))
	if e := t.copyIn(a.addr(0), raw[:size]); e != 0 {
		return 0, e
	}
	var w [words]uint64
	for i := range w {
		w[i] = le.Uint64(raw[8*i:])
	}
	for _, b := range raw[8*words:] {
		if b != 0 {
			return 0, unix.E2BIG
		}
	}
	flags, exitSig, stack, stackSize := w[0], w[4], w[5], w[6]
	switch {
	case w[9] != 0, // chosen thread numbers
		exitSig > 0xff,
		flags&(unix.CLONE_DETACHED|0xff) != 0,
		flags&unix.CLONE_SIGHAND != 0 && flags&unix.CLONE_CLEAR_SIGHAND != 0,
		flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && exitSig != 0,
		(stack == 0) != (stackSize == 0),
		stack+stackSize < stack:
		return 0, unix.EINVAL
	case arch.Addr(stack+stackSize) > t.k.arch.UserTop():
		return 0, unix.EINVAL
	}
	return t.clone(cloneArgs{
		flags:    flags,
		exitSig:  int(exitSig),
		stack:    arch.Addr(stack + stackSize),
		parentID: arch.Addr(w[3]),
		childID:  arch.Addr(w[2]),
		tls:      w[7],
	})
}

// check refuses what does not go together (copy_process of Linux's
// kernel/fork.c).
func (c *cloneArgs) check(t *Task) unix.Errno {
	switch {
	case c.flags&^cloneKnown != 0,
		c.flags&unix.CLONE_THREAD != 0 && c.flags&unix.CLONE_SIGHAND == 0,
		c.flags&unix.CLONE_SIGHAND != 0 && c.flags&unix.CLONE_VM == 0,
		c.flags&unix.CLONE_PARENT != 0 && t.Process == t.k.init,
		c.exitSig > numSignals:
		return unix.EINVAL
	case c.flags&unix.CLONE_SETTLS != 0 && arch.Addr(c.tls) >= t.k.arch.UserTop():
		return unix.EPERM
	}
	return 0
}

func (t *Task) clone(c cloneArgs) (int64, unix.Errno) {
	if v, ok := t.call.data.(*vforkWait); ok {
		return t.waitVfork(v)
	}
	if e := c.check(t); e != 0 {
		return 0, e
	}
	if t.deliverable() != 0 {
		// A signal to all members of a group must not miss one.
		return 0, errRestartNoIntr
	}
	child, e := t.spawn(c)
	if e != 0 {
		return 0, e
	}
	t.k.stats.Forks++
	if c.flags&unix.CLONE_PARENT_SETTID != 0 {
		_ = t.storeU32(c.parentID, uint32(child.tid)) // Linux ignores failure, too
	}
	t.k.traceChild(t, child)
	t.k.enqueue(child)
	if c.flags&unix.CLONE_VFORK == 0 {
		return int64(child.tid), 0
	}
	v := &vforkWait{tid: child.tid}
	child.vfork = v
	t.call.data = v
	return t.waitVfork(v)
}

// waitVfork sleeps until the child has called execve or is gone. Only the end
// of the task cuts it short: the two tasks share a stack.
func (t *Task) waitVfork(v *vforkWait) (int64, unix.Errno) {
	if v.done {
		return int64(v.tid), 0
	}
	return t.blockKillable(&v.queue)
}

// spawn makes a copy of t that is ready to run: another thread or another
// process.
func (t *Task) spawn(c cloneArgs) (*Task, unix.Errno) {
	var child *Task
	var e unix.Errno
	thread := c.flags&unix.CLONE_THREAD != 0
	if thread {
		child, e = t.k.newThread(t.Process)
	} else {
		child, e = t.k.newTask()
	}
	if e != 0 {
		return nil, e
	}
	if c.flags&unix.CLONE_VM != 0 {
		t.space.ref()
		child.space = t.space
	} else {
		sp, err := t.space.fork()
		if err != nil {
			delete(t.k.tasks, child.tid)
			delete(t.k.procs, child.tid)
			t.k.log.Debug("fork", "pid", t.pid, "err", err)
			var errno unix.Errno
			if errors.As(err, &errno) {
				return nil, errno
			}
			return nil, unix.ENOMEM
		}
		child.space = sp
	}
	t.copyCPU(child, &c)
	if !thread {
		t.copyProcess(child.Process, &c)
	}
	child.comm, child.blocked, child.trap = t.comm, t.blocked, t.trap
	child.policy = t.policy.forChild()
	if t.haveSaved {
		child.blocked = t.savedMask
	}
	if c.flags&unix.CLONE_VM == 0 || c.flags&unix.CLONE_VFORK != 0 {
		child.altBase, child.altSize, child.altFlags = t.altBase, t.altSize, t.altFlags
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
		_ = child.storeU32(c.childID, uint32(child.tid))
	}
	return child, 0
}

// copyCPU gives child the registers of t as they are after the call, but with
// the result 0.
func (t *Task) copyCPU(child *Task, c *cloneArgs) {
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
}

// copyProcess makes p a child of t's process, or its sibling.
func (t *Task) copyProcess(p *Process, c *cloneArgs) {
	p.parent, p.forker, p.exitSig = t.Process, t, c.exitSig
	if c.flags&unix.CLONE_PARENT != 0 {
		p.parent, p.forker, p.exitSig = t.parent, t.forker, t.exitSig
	}
	p.parent.children = append(p.parent.children, p)
	p.pgid, p.sid = t.pgid, t.sid
	p.exe, p.cmdline = t.exe, t.cmdline
	p.dumpable, p.rlimits, p.persona = t.dumpable, t.rlimits, t.persona
	switch {
	case c.flags&unix.CLONE_SIGHAND != 0:
		p.sig = t.sig
	case c.flags&unix.CLONE_CLEAR_SIGHAND != 0:
		p.sig = t.sig.forExec()
	default:
		p.sig = t.sig.clone()
	}
}

// blockKillable is block for waits that only the end of the task may cut
// short.
func (t *Task) blockKillable(q *wait.Queue) (int64, unix.Errno) {
	if t.dying {
		return 0, errRestartNoIntr
	}
	t.waitOn(q)
	t.state = taskBlocked
	t.nvcsw++
	return 0, errBlocked
}
