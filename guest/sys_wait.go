package guest

import (
	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// waitQuery says which children and which news of them a caller wants.
type waitQuery struct {
	match                      func(c *Process) bool
	flags                      uint32 // wNoThread, wAll, wClone
	exited, stopped, continued bool
	noHang, keep               bool
}

// childNews is what happened to a child.
type childNews struct {
	child  *Process
	code   int32 // CLD_*
	status int   // as wait4 puts it
	detail int32 // as waitid puts it
}

// find looks for news; the errno is ECHILD if no child could ever have any.
func (q *waitQuery) find(t *Task) (*childNews, unix.Errno) {
	any := false
	for _, c := range t.children {
		if !q.match(c) || !q.mayWait(t, c) {
			continue
		}
		any = true
		switch {
		case q.exited && c.ended:
			code, detail := c.endCode()
			return &childNews{c, code, c.status, detail}, 0
		case q.stopped && c.stopped && c.stopNews:
			if !q.keep {
				c.stopNews = false
			}
			return &childNews{c, abi.CLD_STOPPED, c.stopSig<<8 | 0x7f, int32(c.stopSig)}, 0
		case q.continued && c.contNews:
			if !q.keep {
				c.contNews = false
			}
			return &childNews{c, abi.CLD_CONTINUED, 0xffff, int32(unix.SIGCONT)}, 0
		}
	}
	if !any {
		return nil, unix.ECHILD
	}
	return nil, 0
}

// mayWait says whether the options let t wait for c at all.
func (q *waitQuery) mayWait(t *Task, c *Process) bool {
	if q.flags&wNoThread != 0 && c.forker != t {
		return false
	}
	return q.flags&wAll != 0 || (c.exitSig != int(unix.SIGCHLD)) == (q.flags&wClone != 0)
}

// waitFor is find, asleep until there is something. A nil result with errno 0
// is the answer to WNOHANG; errBlocked and the restart codes are to be passed
// on.
func (t *Task) waitFor(q *waitQuery) (*childNews, unix.Errno) {
	n, e := q.find(t)
	if n != nil || e != 0 || q.noHang {
		return n, e
	}
	_, e = t.block(errRestartSys, &t.childDone)
	return nil, e
}

// matchPid is the meaning of wait4's first argument.
func (t *Task) matchPid(pid int) func(*Process) bool {
	switch {
	case pid > 0:
		return func(c *Process) bool { return c.pid == pid }
	case pid == 0:
		return func(c *Process) bool { return c.pgid == t.pgid }
	case pid == -1:
		return func(*Process) bool { return true }
	}
	return func(c *Process) bool { return c.pgid == -pid }
}

// Wait options of Linux only (linux/wait.h).
const (
	wNoThread = 0x20000000
	wAll      = 0x40000000
	wClone    = 0x80000000
)

func sysWait4(t *Task, a args) (int64, unix.Errno) {
	opts := a.u32(2)
	if opts&^(unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|wNoThread|wAll|wClone) != 0 {
		return 0, unix.EINVAL
	}
	if a.int(0) == -1<<31 {
		return 0, unix.ESRCH
	}
	n, e := t.waitFor(&waitQuery{
		match:     t.matchPid(a.int(0)),
		flags:     opts,
		exited:    true,
		stopped:   opts&unix.WUNTRACED != 0,
		continued: opts&unix.WCONTINUED != 0,
		noHang:    opts&unix.WNOHANG != 0,
	})
	if n == nil {
		return 0, e
	}
	pid := n.child.pid
	u := n.child.usedWithKids()
	usage := u.bytes()
	if n.child.ended {
		n.child.bury()
	}
	if p := a.addr(1); p != 0 {
		if e := t.storeU32(p, uint32(n.status)); e != 0 {
			return 0, e
		}
	}
	if p := a.addr(3); p != 0 {
		if e := t.copyOut(p, usage[:]); e != 0 {
			return 0, e
		}
	}
	return int64(pid), 0
}

func sysWaitid(t *Task, a args) (int64, unix.Errno) {
	idtype, id, opts := a.int(0), a.int(1), a.u32(3)
	if opts&^(unix.WNOHANG|unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED|unix.WNOWAIT|wNoThread|wAll|wClone) != 0 ||
		opts&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return 0, unix.EINVAL
	}
	q := waitQuery{
		flags:     opts,
		exited:    opts&unix.WEXITED != 0,
		stopped:   opts&unix.WSTOPPED != 0,
		continued: opts&unix.WCONTINUED != 0,
		noHang:    opts&unix.WNOHANG != 0,
		keep:      opts&unix.WNOWAIT != 0,
	}
	switch {
	case idtype == unix.P_ALL:
		q.match = t.matchPid(-1)
	case idtype == unix.P_PID && id > 0:
		q.match = t.matchPid(id)
	case idtype == unix.P_PGID && id == 0:
		q.match = t.matchPid(0)
	case idtype == unix.P_PGID && id > 0:
		q.match = func(c *Process) bool { return c.pgid == id }
	default:
		return 0, unix.EINVAL
	}
	n, e := t.waitFor(&q)
	if e != 0 {
		return 0, e
	}
	var info sigInfo
	var usage [rusageSize]byte
	if n != nil {
		info = sigInfo{no: int(unix.SIGCHLD), code: n.code, pid: n.child.pid, status: n.detail}
		u := n.child.usedWithKids()
		usage = u.bytes()
		if n.child.ended && !q.keep {
			n.child.bury()
		}
	}
	if p := a.addr(2); p != 0 {
		b := info.bytes()
		if e := t.copyOut(p, b[:]); e != 0 {
			return 0, e
		}
	}
	if p := a.addr(4); p != 0 && n != nil {
		return 0, t.copyOut(p, usage[:])
	}
	return 0, 0
}

const rusageSize = 144

// usedWithKids is what p and the children that it waited for have used: wait4
// tells of both.
func (p *Process) usedWithKids() usage {
	u := p.used()
	u.add(&p.kids)
	return u
}

// bytes is the struct rusage.
func (u *usage) bytes() (b [rusageSize]byte) {
	for i, v := range [...]uint64{
		uint64(u.utime / 1e9), uint64(u.utime % 1e9 / 1e3),
		uint64(u.stime / 1e9), uint64(u.stime % 1e9 / 1e3),
		u.maxRSS >> 10, 0, 0, 0, u.minflt, 0, 0, 0, 0, 0, 0, 0, u.nvcsw, u.nivcsw,
	} {
		le.PutUint64(b[8*i:], v)
	}
	return b
}

func sysGetrusage(t *Task, a args) (int64, unix.Errno) {
	var u usage
	switch a.int(0) {
	case unix.RUSAGE_SELF:
		u = t.used()
	case unix.RUSAGE_CHILDREN:
		u = t.kids
	case unix.RUSAGE_THREAD:
		u = t.usage
		u.maxRSS = t.used().maxRSS
	default:
		return 0, unix.EINVAL
	}
	b := u.bytes()
	return 0, t.copyOut(a.addr(1), b[:])
}
