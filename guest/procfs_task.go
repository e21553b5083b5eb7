package guest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/internal/abi"
)

// procDir is /proc/pid: of the process of t, as its leader sees it.
func (t *Task) procDir() vfs.Node {
	base := uint64(t.tid) * procInodes
	nodes := t.procFiles(base)
	nodes["task"] = t.procTasks(base + 1)
	return vfs.Entries(base, nodes)
}

// procTasks is /proc/pid/task.
func (t *Task) procTasks(ino uint64) vfs.Node {
	p := t.Process
	return &vfs.Dir{
		Ino: ino,
		Find: func(name string) (vfs.Node, error) {
			for _, o := range p.threads {
				if strconv.Itoa(o.tid) == name {
					base := uint64(o.tid)*procInodes + procInodes/2
					return vfs.Entries(base, o.procFiles(base)), nil
				}
			}
			return nil, unix.ENOENT
		},
		List: func() (list []vfs.Dirent) {
			for _, o := range p.threads {
				list = append(list, vfs.Dirent{Ino: uint64(o.tid)*procInodes + procInodes/2, Type: unix.DT_DIR, Name: strconv.Itoa(o.tid)})
			}
			slices.SortFunc(list, func(a, b vfs.Dirent) int { return int(a.Ino) - int(b.Ino) })
			return list
		},
	}
}

// procFiles are the files that a process and a thread have alike.
func (t *Task) procFiles(base uint64) map[string]vfs.Node {
	living := func(s func() string) func() string {
		return func() string {
			if t.space == nil {
				return ""
			}
			return s()
		}
	}
	memory := func(from, to func() arch.Addr) func() string {
		return living(func() string { return t.procMemory(from(), to()) })
	}
	return map[string]vfs.Node{
		"exe": link(base+2, func() (string, error) {
			if t.space == nil {
				return "", unix.ENOENT
			}
			return t.exe, nil
		}),
		"cwd": link(base+3, func() (string, error) {
			if t.fs == nil {
				return "", unix.ENOENT
			}
			return t.k.ns.Path(t.fs.cwd), nil
		}),
		"root": link(base+4, func() (string, error) {
			if t.fs == nil {
				return "", unix.ENOENT
			}
			return t.k.ns.Path(t.fs.ns.Root()), nil
		}),
		"cmdline":       text(base+5, memory(func() arch.Addr { return t.space.argStart }, func() arch.Addr { return t.space.argEnd })),
		"environ":       text(base+6, memory(func() arch.Addr { return t.space.argEnd }, func() arch.Addr { return t.space.envEnd })),
		"comm":          text(base+7, func() string { return t.comm + "\n" }),
		"stat":          text(base+8, t.procStat),
		"statm":         text(base+9, t.procStatm),
		"status":        text(base+10, t.procStatus),
		"maps":          text(base+11, living(func() string { return t.space.maps() })),
		"mounts":        text(base+12, t.k.procMounts),
		"mountinfo":     text(base+13, t.k.procMountinfo),
		"limits":        text(base+14, t.procLimits),
		"auxv":          text(base+15, living(t.procAuxv)),
		"cgroup":        text(base+16, func() string { return "0::/\n" }),
		"oom_score":     text(base+17, func() string { return "0\n" }),
		"oom_score_adj": text(base+18, func() string { return "0\n" }),
		"loginuid":      text(base+19, func() string { return "4294967295" }),
		"wchan":         text(base+20, func() string { return "0" }),
		"fdinfo":        t.procFDInfo(base + 1<<13),
		"fd":            t.procFDs(base + 1<<14),
	}
}

// procMemory is the bytes of t's memory between two addresses. What the program
// has made of its arguments shows, as in Linux.
func (t *Task) procMemory(from, to arch.Addr) string {
	if to <= from {
		return ""
	}
	p := make([]byte, to-from)
	n, _ := t.space.table().CopyIn(p, from) // up to what is not mapped any more
	return string(p[:n])
}

func (t *Task) procAuxv() string {
	var b []byte
	for _, w := range t.space.auxv {
		b = le.AppendUint64(b, w)
	}
	return string(b)
}

// limitNames is by number, with the unit (fs/proc/base.c).
var limitNames = [...][2]string{
	{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"},
	{"Max core file size", "bytes"}, {"Max resident set", "bytes"}, {"Max processes", "processes"}, {"Max open files", "files"},
	{"Max locked memory", "bytes"}, {"Max address space", "bytes"}, {"Max file locks", "locks"}, {"Max pending signals", "signals"},
	{"Max msgqueue size", "bytes"}, {"Max nice priority", ""}, {"Max realtime priority", ""}, {"Max realtime timeout", "us"},
}

func (t *Task) procLimits() string {
	value := func(v uint64) string {
		if v == infinity {
			return "unlimited"
		}
		return strconv.FormatUint(v, 10)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for i, n := range limitNames {
		l := t.rlimits[i]
		if n[1] == "" {
			fmt.Fprintf(&b, "%-25s %-20s %-20s\n", n[0], value(l.Cur), value(l.Max))
			continue
		}
		fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", n[0], value(l.Cur), value(l.Max), n[1])
	}
	return b.String()
}

func (t *Task) parentPid() int {
	if t.parent == nil {
		return 0
	}
	return t.parent.pid
}

// size is the memory of a task, 0 for a zombie.
func (t *Task) size() (vsize, rss uint64) {
	if t.space == nil {
		return 0, 0
	}
	return t.space.pages()
}

// procTTY is the controlling terminal's number and foreground group.
func (t *Task) procTTY() (nr uint64, foreground int) {
	c := t.k.tty.controls[t.sid]
	if c == nil {
		return 0, -1
	}
	// As new_encode_dev of linux/kdev_t.h.
	major, minor := uint64(unix.Major(c.Rdev)), uint64(unix.Minor(c.Rdev))
	return minor&0xff | major<<8 | minor&^0xff<<12, c.Foreground
}

// procStat is the one line of numbers that ps reads; field names are those of
// proc_pid_stat(5).
func (t *Task) procStat() string {
	vsize, rss := t.size()
	u, pending := t.used(), t.pending.set|t.shared.set
	tty, foreground := t.procTTY()
	var argStart, argEnd, envEnd, brk, stack arch.Addr
	if s := t.space; s != nil {
		argStart, argEnd, envEnd, brk, stack = s.argStart, s.argEnd, s.envEnd, s.brkStart, s.stackTop
	}
	fields := []any{
		t.parentPid(), t.pgid, t.sid, tty, foreground, 0, /* flags */
		u.minflt, t.kids.minflt, 0, 0, /* majflt, cmajflt: no page comes from a disk */
		ticks(u.utime), ticks(u.stime), ticks(t.kids.utime), ticks(t.kids.stime),
		20 /* priority */, 0 /* nice */, t.live, 0, /* itrealvalue */
		ticks(t.started), vsize, rss / arch.PageSize, t.rlimits[unix.RLIMIT_RSS].Cur,
		0, 0 /* startcode, endcode */, uint64(stack), 0, 0, /* kstkesp, kstkeip */
		pending, t.blocked, t.handled(abi.SIG_IGN), t.handled(2),
		0, 0, 0, /* wchan, nswap, cnswap */
		t.exitSig, t.vcpu, 0, 0, 0, 0, 0, /* rt_priority, policy, blkio, guest_time, cguest_time */
		0, 0, uint64(brk), uint64(argStart), uint64(argEnd), uint64(argEnd), uint64(envEnd), t.status,
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d (%s) %c", t.tid, t.comm, t.state.procLetter())
	for _, f := range fields {
		fmt.Fprintf(&b, " %d", f)
	}
	return b.String() + "\n"
}

// handled is the set of signals that are ignored, or with 2 caught.
func (t *Task) handled(kind arch.Addr) (m uint64) {
	for no := 1; no <= numSignals; no++ {
		if h := t.sig.actions[no].handler; h == kind || kind >= 2 && h >= 2 {
			m |= sigBit(no)
		}
	}
	return m
}

func (t *Task) procStatm() string {
	vsize, rss := t.size()
	return fmt.Sprintf("%d %d 0 0 0 %d 0\n", vsize/arch.PageSize, rss/arch.PageSize, rss/arch.PageSize)
}

func (t *Task) procStatus() string {
	vsize, rss := t.size()
	state := map[byte]string{'R': "running", 'S': "sleeping", 'T': "stopped", 'Z': "zombie"}
	letter := t.state.procLetter()
	var b strings.Builder
	fmt.Fprintf(&b, "Name:\t%s\n", t.comm)
	if t.fs != nil {
		fmt.Fprintf(&b, "Umask:\t%04o\n", t.fs.umask)
	}
	fmt.Fprintf(&b, "State:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
		letter, state[letter], t.pid, t.tid, t.parentPid())
	b.WriteString("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
	if t.files != nil {
		fmt.Fprintf(&b, "FDSize:\t%d\n", max(64, len(t.files.Open())))
	}
	b.WriteString("Groups:\t \n")
	fmt.Fprintf(&b, "NStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", t.pid, t.tid, t.pgid, t.sid)
	if t.space != nil {
		for _, l := range []struct {
			name  string
			bytes uint64
		}{
			{"VmPeak", vsize}, {"VmSize", vsize}, {"VmLck", 0}, {"VmPin", 0}, {"VmHWM", max(rss, t.used().maxRSS)}, {"VmRSS", rss}, {"VmSwap", 0},
		} {
			fmt.Fprintf(&b, "%s:\t%8d kB\n", l.name, l.bytes>>10)
		}
	}
	fmt.Fprintf(&b, "Threads:\t%d\nSigQ:\t%d/%d\n", t.live, 0, t.rlimits[unix.RLIMIT_SIGPENDING].Cur)
	fmt.Fprintf(&b, "SigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n",
		t.pending.set, t.shared.set, t.blocked, t.handled(abi.SIG_IGN), t.handled(2))
	all := uint64(1)<<(unix.CAP_LAST_CAP+1) - 1 // everybody is root
	fmt.Fprintf(&b, "CapInh:\t%016x\nCapPrm:\t%016x\nCapEff:\t%016x\nCapBnd:\t%016x\nCapAmb:\t%016x\n", 0, all, all, all, 0)
	mask := t.k.cpuMask()
	cpus := "0"
	if t.k.cfg.CPUs > 1 {
		cpus = fmt.Sprintf("0-%d", t.k.cfg.CPUs-1)
	}
	fmt.Fprintf(&b, "NoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t%x\nCpus_allowed_list:\t%s\n", mask, cpus)
	fmt.Fprintf(&b, "voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n", t.nvcsw, t.nivcsw)
	return b.String()
}
