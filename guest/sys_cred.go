package guest

import "golang.org/x/sys/unix"

// There is one user, root, and nobody to become.

func sysGetpid(t *Task, _ args) (int64, unix.Errno) { return int64(t.pid), 0 }

func sysGettid(t *Task, _ args) (int64, unix.Errno) { return int64(t.tid), 0 }

func sysGetppid(t *Task, _ args) (int64, unix.Errno) {
	if t.parent == nil {
		return 0, 0
	}
	return int64(t.parent.pid), 0
}

func sysZeroID(*Task, args) (int64, unix.Errno) { return 0, 0 }

// sysSetIDs accepts user and group 0, and -1 for "as it is", in the first n
// arguments.
func sysSetIDs(n int) handler {
	return func(_ *Task, a args) (int64, unix.Errno) {
		for i := range n {
			if id := a.int(i); id != 0 && id != -1 {
				return 0, unix.EPERM
			}
		}
		return 0, 0
	}
}

// sysGetresid stores three zeros.
func sysGetresid(t *Task, a args) (int64, unix.Errno) {
	for i := range 3 {
		if e := t.storeU32(a.addr(i), 0); e != 0 {
			return 0, e
		}
	}
	return 0, 0
}

func sysSetpgid(t *Task, a args) (int64, unix.Errno) {
	pid, pgid := a.int(0), a.int(1)
	if pgid < 0 {
		return 0, unix.EINVAL
	}
	target := t.Process
	if pid != 0 && pid != t.pid {
		o := t.k.tasks[pid]
		switch {
		case o == nil:
			return 0, unix.ESRCH
		case o.tid != o.pid:
			return 0, unix.EINVAL
		case o.parent != t.Process:
			return 0, unix.ESRCH
		case o.sid != t.sid:
			return 0, unix.EPERM
		case o.execd:
			return 0, unix.EACCES
		}
		target = o.Process
	}
	if target.sid == target.pid {
		return 0, unix.EPERM
	}
	if pgid == 0 {
		pgid = target.pid
	}
	if pgid != target.pid && !t.k.groupInSession(pgid, t.sid) {
		return 0, unix.EPERM
	}
	target.pgid = pgid
	return 0, 0
}

func (k *Kernel) groupInSession(pgid, sid int) bool {
	for _, p := range k.procs {
		if p.pgid == pgid && p.sid == sid {
			return true
		}
	}
	return false
}

// processOf is the thread that a number means, 0 being t.
func (t *Task) processOf(id int) *Task {
	if id == 0 {
		return t
	}
	return t.k.tasks[id]
}

func sysGetpgid(t *Task, a args) (int64, unix.Errno) {
	target := t.processOf(a.int(0))
	if target == nil {
		return 0, unix.ESRCH
	}
	return int64(target.pgid), 0
}

func sysGetpgrp(t *Task, _ args) (int64, unix.Errno) { return int64(t.pgid), 0 }

func sysGetsid(t *Task, a args) (int64, unix.Errno) {
	target := t.processOf(a.int(0))
	if target == nil {
		return 0, unix.ESRCH
	}
	return int64(target.sid), 0
}

func sysSetsid(t *Task, _ args) (int64, unix.Errno) {
	for _, other := range t.k.procs {
		if other.pgid == t.pid {
			return 0, unix.EPERM
		}
	}
	t.sid, t.pgid = t.pid, t.pid
	return int64(t.sid), 0
}
