package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// waitQuery says which children and which news of them a caller wants.
type waitQuery struct {
	match                      func(c *Task) bool
	exited, stopped, continued bool
	noHang, keep               bool
}

// childNews is what happened to a child.
type childNews struct {
	child  *Task
	code   int32 // CLD_*
	status int   // as wait4 puts it
	detail int32 // as waitid puts it
}

// find looks for news; the errno is ECHILD if no child could ever have any.
func (q *waitQuery) find(t *Task) (*childNews, unix.Errno) {
	any := false
	for _, c := range t.children {
		if !q.match(c) {
			continue
		}
		any = true
		switch {
		case q.exited && c.state == taskZombie:
			n := &childNews{child: c, code: abi.CLD_EXITED, status: c.status, detail: int32(c.status >> 8)}
			if sig := c.status & 0x7f; sig != 0 {
				n.code, n.detail = abi.CLD_KILLED, int32(sig)
			}
			return n, 0
		case q.stopped && c.state == taskStopped && c.stopNews:
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
func (t *Task) matchPid(pid int) func(*Task) bool {
	switch {
	case pid > 0:
		return func(c *Task) bool { return c.pid == pid }
	case pid == 0:
		return func(c *Task) bool { return c.pgid == t.pgid }
	case pid == -1:
		return func(*Task) bool { return true }
	}
	return func(c *Task) bool { return c.pgid == -pid }
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
		exited:    true,
		stopped:   opts&unix.WUNTRACED != 0,
		continued: opts&unix.WCONTINUED != 0,
		noHang:    opts&unix.WNOHANG != 0,
	})
	if n == nil {
		return 0, e
	}
	pid := n.child.pid
	usage := n.child.usage(false)
	if n.child.state == taskZombie {
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
		q.match = func(c *Task) bool { return c.pgid == id }
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
		usage = n.child.usage(false)
		if n.child.state == taskZombie && !q.keep {
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

// usage is the struct rusage of t, or of the children that it waited for.
func (t *Task) usage(ofChildren bool) (b [rusageSize]byte) {
	ut, st, rss, flt := t.utime, t.stime, t.maxRSS, t.minflt
	vol, invol := t.nvcsw, t.nivcsw
	if t.space != nil {
		if _, now := t.space.pages(); now > rss {
			rss = now
		}
	}
	if ofChildren {
		ut, st, rss, flt, vol, invol = t.cutime, t.cstime, t.cmaxRSS, t.cminflt, 0, 0
	}
	for i, v := range [...]uint64{
		uint64(ut / 1e9), uint64(ut % 1e9 / 1e3),
		uint64(st / 1e9), uint64(st % 1e9 / 1e3),
		rss >> 10, 0, 0, 0, flt, 0, 0, 0, 0, 0, 0, 0, vol, invol,
	} {
		le.PutUint64(b[8*i:], v)
	}
	return b
}

func sysGetrusage(t *Task, a args) (int64, unix.Errno) {
	who := a.int(0)
	if who != unix.RUSAGE_SELF && who != unix.RUSAGE_CHILDREN && who != unix.RUSAGE_THREAD {
		return 0, unix.EINVAL
	}
	b := t.usage(who == unix.RUSAGE_CHILDREN)
	return 0, t.copyOut(arch.Addr(a[1]), b[:])
}
