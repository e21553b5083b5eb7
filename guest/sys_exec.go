package guest

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// Limits of execve (linux/binfmts.h, and fs/exec.c for the totals).
const (
	maxArgString = 128<<10 - 1 // without the zero
	minArgTotal  = 128 << 10
	maxArgTotal  = 6 << 20
	maxShebang   = 255
	maxInterp    = 5 // scripts that name each other
)

func sysExecve(t *Task, a args) (int64, unix.Errno) {
	if x, ok := t.call.data.(*pendingExec); ok {
		return t.finishExec(x)
	}
	path, e := t.path(a.addr(0))
	if e != 0 {
		return 0, e
	}
	return t.execve(path, a.addr(1), a.addr(2))
}

func sysExecveat(t *Task, a args) (int64, unix.Errno) {
	if x, ok := t.call.data.(*pendingExec); ok {
		return t.finishExec(x)
	}
	path, e := t.path(a.addr(1))
	if e != 0 {
		return 0, e
	}
	if a.int(4)&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	if a.int(0) != unix.AT_FDCWD && !strings.HasPrefix(path, "/") {
		d, e := t.dentryOf(a.int(0))
		if e != 0 {
			return 0, e
		}
		dir := t.fs.ns.Path(d)
		if path == "" {
			path = dir
		} else {
			path = dir + "/" + path
		}
	}
	return t.execve(path, a.addr(2), a.addr(3))
}

func (t *Task) execve(path string, argvAt, envpAt arch.Addr) (int64, unix.Errno) {
	left := int(max(minArgTotal, min(maxArgTotal, t.rlimits[unix.RLIMIT_STACK].Cur/4)))
	argv, e := t.stringArray(argvAt, &left)
	if e != 0 {
		return 0, e
	}
	envp, e := t.stringArray(envpAt, &left)
	if e != 0 {
		return 0, e
	}
	if len(argv) == 0 {
		argv = []string{""} // as Linux since 5.18
	}
	if path == "" {
		return 0, unix.ENOENT
	}
	x, e := t.k.prepareFile(t, path, argv, envp)
	if e != 0 {
		return 0, e
	}
	t.call.data = x
	for _, o := range t.threads {
		if o != t {
			o.doom()
		}
	}
	return t.finishExec(x)
}

// finishExec makes t run its new program once the other threads of its process
// are gone.
func (t *Task) finishExec(x *pendingExec) (int64, unix.Errno) {
	if t.live > 1 {
		return t.blockKillable(&t.threadGone)
	}
	t.call.data = nil
	t.lead()
	x.commit(t)
	t.k.traceExit(t, 0)
	return 0, errNeverReturns // the registers are the new program's
}

// lead makes t, the only thread that is alive, the leader of its process: it
// takes over number and age of the one that was (de_thread of Linux's
// fs/exec.c).
func (t *Task) lead() {
	old := t.leader
	if old == t {
		return
	}
	old.bury()
	delete(t.k.tasks, t.tid)
	t.tid, t.started = old.tid, old.started
	t.k.tasks[t.tid] = t
	t.leader = t
	t.exitSig = int(unix.SIGCHLD)
}

// prepareFile is prepare with scripts: a file that starts with #! is run by the
// program named there.
func (k *Kernel) prepareFile(t *Task, path string, argv, envp []string) (*pendingExec, unix.Errno) {
	asked := path
	for range maxInterp + 1 {
		x, e := k.prepare(t, path, argv, envp)
		if e == 0 {
			// The name is the one asked for, not what a link leads to
			// or the interpreter's: busybox looks at it.
			x.comm = commOf(asked)
		}
		if e != unix.ENOEXEC || t.dying {
			if e != 0 && path != asked {
				k.startErr = &StartError{Path: asked, Errno: e, Reason: fmt.Sprintf("its interpreter %s: %v", path, e)}
			}
			return x, e
		}
		interp, arg, ok := t.shebang(path)
		if !ok {
			return nil, unix.ENOEXEC
		}
		next := []string{interp}
		if arg != "" {
			next = append(next, arg)
		}
		argv = append(append(next, path), argv[1:]...)
		path = interp
	}
	k.startErr = &StartError{Path: asked, Errno: unix.ELOOP, Reason: "too many levels of scripts"}
	return nil, unix.ELOOP
}

// shebang reads the first line of a script.
func (t *Task) shebang(path string) (interp, arg string, ok bool) {
	var buf [maxShebang]byte
	n := t.readHead(path, buf[:])
	return parseShebang(buf[:n])
}

// parseShebang splits a #! line: the interpreter, and the rest as one
// argument without the blanks around it.
func parseShebang(head []byte) (interp, arg string, ok bool) {
	line, ok := strings.CutPrefix(string(head), "#!")
	if !ok {
		return "", "", false
	}
	line, _, whole := strings.Cut(line, "\n")
	line = strings.Trim(line, " \t")
	interp, arg, _ = strings.Cut(line, " ")
	if i := strings.IndexByte(interp, '\t'); i >= 0 {
		interp, arg = line[:i], line[i+1:]
	}
	arg = strings.Trim(arg, " \t")
	if interp == "" || !whole && arg == "" && len(head) == maxShebang {
		return "", "", false // nothing, or a name that was cut off
	}
	return interp, arg, true
}

// stringArray reads a zero-terminated array of strings, taking their size off
// left.
func (t *Task) stringArray(a arch.Addr, left *int) ([]string, unix.Errno) {
	if a == 0 {
		return nil, 0
	}
	var list []string
	for ; ; a += 8 {
		p, e := t.loadU64(a)
		if e != 0 {
			return nil, e
		}
		if p == 0 {
			return list, 0
		}
		s, e := t.cstring(arch.Addr(p), maxArgString)
		if e == unix.ENAMETOOLONG {
			e = unix.E2BIG
		}
		if e != 0 {
			return nil, e
		}
		if *left -= len(s) + 1 + 8; *left < 0 {
			return nil, unix.E2BIG
		}
		list = append(list, s)
	}
}
