package guest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/internal/abi"
)

// Inode numbers in /proc: those of a process begin at its number times this.
const procInodes = 1 << 16

// text is a generated file.
func text(ino uint64, content func() string) *vfs.Text {
	return &vfs.Text{Ino: ino, Content: func() ([]byte, error) { return []byte(content()), nil }}
}

func link(ino uint64, target func() (string, error)) *vfs.Link {
	return &vfs.Link{Ino: ino, Target: target}
}

// procRoot is /proc.
func (k *Kernel) procRoot() vfs.Node {
	fixed := map[string]vfs.Node{
		"self": link(2, func() (string, error) {
			if k.current == nil {
				return "", unix.ENOENT
			}
			return strconv.Itoa(k.current.pid), nil
		}),
		"meminfo":     text(3, k.procMeminfo),
		"uptime":      text(4, func() string { return fmt.Sprintf("%.2f 0.00\n", k.now().Seconds()) }),
		"stat":        text(5, k.procStat),
		"version":     text(6, func() string { return fmt.Sprintf("%s version %s %s\n", unameSysname, unameRelease, unameVersion) }),
		"mounts":      text(7, k.procMounts),
		"cpuinfo":     text(8, k.procCPUInfo),
		"loadavg":     text(9, k.procLoadavg),
		"filesystems": text(10, func() string { return "nodev\tproc\nnodev\ttmpfs\n" }),
		"cmdline":     text(11, func() string { return "goskas\n" }),
		"sys":         k.procSys(),
	}
	root := vfs.Entries(1, fixed)
	find, list := root.Find, root.List
	root.Find = func(name string) (vfs.Node, error) {
		if pid, err := strconv.Atoi(name); err == nil && strconv.Itoa(pid) == name {
			if t := k.tasks[pid]; t != nil {
				return t.procDir(), nil
			}
		}
		return find(name)
	}
	root.List = func() []vfs.Dirent {
		entries := list()
		pids := make([]int, 0, len(k.procs))
		for pid := range k.procs {
			pids = append(pids, pid)
		}
		slices.Sort(pids)
		for _, pid := range pids {
			entries = append(entries, vfs.Dirent{Ino: uint64(pid) * procInodes, Type: unix.DT_DIR, Name: strconv.Itoa(pid)})
		}
		return entries
	}
	return root
}

// procSys is the little of /proc/sys that programs ask for.
func (k *Kernel) procSys() vfs.Node {
	line := func(ino uint64, s func() string) vfs.Node { return text(ino, func() string { return s() + "\n" }) }
	kernel := vfs.Entries(21, map[string]vfs.Node{
		"ostype":    line(22, func() string { return unameSysname }),
		"osrelease": line(23, func() string { return unameRelease }),
		"version":   line(24, func() string { return unameVersion }),
		"hostname":  line(25, func() string { return k.hostname }),
		"pid_max":   line(26, func() string { return strconv.Itoa(maxPid + 1) }),
	})
	vm := vfs.Entries(31, map[string]vfs.Node{
		"overcommit_memory": line(32, func() string { return "1" }),
		"max_map_count":     line(33, func() string { return "65530" }),
	})
	return vfs.Entries(20, map[string]vfs.Node{"kernel": kernel, "vm": vm})
}

func (k *Kernel) procMeminfo() string {
	st := k.mem.Stats()
	kb := func(frames uint64) uint64 { return frames * arch.PageSize / 1024 }
	total, free := uint64(st.Total), uint64(st.Free)
	var b strings.Builder
	for _, l := range []struct {
		name string
		kb   uint64
	}{
		{"MemTotal", kb(total)}, {"MemFree", kb(free)}, {"MemAvailable", kb(free)},
		{"Buffers", 0}, {"Cached", 0}, {"SwapTotal", 0}, {"SwapFree", 0},
	} {
		fmt.Fprintf(&b, "%-16s%8d kB\n", l.name+":", l.kb)
	}
	return b.String()
}

func (k *Kernel) procStat() string {
	var user, sys time.Duration
	for _, p := range k.procs {
		u := p.used()
		user += u.utime
		sys += u.stime
	}
	var b strings.Builder
	row := fmt.Sprintf("%d 0 %d 0 0 0 0 0 0 0\n", ticks(user), ticks(sys))
	b.WriteString("cpu  " + row)
	for id := range k.cfg.CPUs {
		fmt.Fprintf(&b, "cpu%d %s", id, row)
	}
	fmt.Fprintf(&b, "ctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\n",
		k.stats.Switches, time.Now().Add(-k.now()).Unix(), k.stats.Forks+1, k.runLen+1)
	return b.String()
}

func (k *Kernel) procMounts() string {
	var b strings.Builder
	rootKind := "tmpfs / tmpfs rw"
	if k.cfg.Root != "" {
		rootKind = "host / hostfs ro"
	}
	b.WriteString(rootKind + " 0 0\n")
	binds := make(map[string]bool)
	for _, m := range k.cfg.Binds {
		binds[m.Guest] = m.Write
	}
	mounts := k.ns.Mounts()
	slices.Sort(mounts)
	for _, m := range mounts {
		kind, rights := "tmpfs", "rw"
		switch m {
		case procDir:
			kind = "proc"
		case devDir:
			kind = "devtmpfs"
		}
		if write, ok := binds[m]; ok {
			kind = "hostfs"
			if !write {
				rights = "ro"
			}
		}
		fmt.Fprintf(&b, "%s %s %s %s 0 0\n", kind, m, kind, rights)
	}
	return b.String()
}

func (k *Kernel) procCPUInfo() string {
	var b strings.Builder
	for id := range k.cfg.CPUs {
		fmt.Fprintf(&b, "processor\t: %d\nvendor_id\t: goskas\nmodel name\t: %s vCPU\n\n", id, k.arch.Name())
	}
	return b.String()
}

func (k *Kernel) procLoadavg() string {
	n := k.runLen + 1
	return fmt.Sprintf("%d.00 %d.00 %d.00 %d/%d %d\n", n, n, n, n, len(k.tasks), k.lastPid)
}

// procDir is /proc/pid.
func (t *Task) procDir() vfs.Node {
	base := uint64(t.pid) * procInodes
	living := func(s func() string) func() string {
		return func() string {
			if t.space == nil {
				return ""
			}
			return s()
		}
	}
	return vfs.Entries(base, map[string]vfs.Node{
		"exe": link(base+1, func() (string, error) {
			if t.space == nil {
				return "", unix.ENOENT
			}
			return t.exe, nil
		}),
		"cwd": link(base+2, func() (string, error) {
			if t.fs == nil {
				return "", unix.ENOENT
			}
			return t.k.ns.Path(t.fs.cwd), nil
		}),
		"root": link(base+3, func() (string, error) { return "/", nil }),
		"cmdline": text(base+4, living(func() string {
			return strings.Join(t.cmdline, "\x00") + "\x00"
		})),
		"comm":   text(base+5, func() string { return t.comm + "\n" }),
		"stat":   text(base+6, t.procStat),
		"statm":  text(base+7, t.procStatm),
		"status": text(base+8, t.procStatus),
		"maps":   text(base+9, living(func() string { return t.space.maps() })),
		"mounts": text(base+10, t.k.procMounts),
		"fd":     t.procFDs(base + 11),
	})
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

// procStat is the one line of numbers that ps reads; field names are those of
// proc_pid_stat(5).
func (t *Task) procStat() string {
	vsize, rss := t.size()
	u, pending := t.used(), t.pending.set|t.shared.set
	fields := []any{
		t.parentPid(), t.pgid, t.sid, 0 /* tty_nr */, -1 /* tpgid */, 0, /* flags */
		u.minflt, t.kids.minflt, 0, 0,
		ticks(u.utime), ticks(u.stime), ticks(t.kids.utime), ticks(t.kids.stime),
		20 /* priority */, 0 /* nice */, t.live, 0, /* itrealvalue */
		ticks(t.started), vsize, rss / arch.PageSize, infinity, /* rsslim */
		0, 0, 0, 0, 0, /* startcode, endcode, startstack, kstkesp, kstkeip */
		pending, t.blocked, t.handled(abi.SIG_IGN), t.handled(2),
		0, 0, 0, /* wchan, nswap, cnswap */
		t.exitSig, t.vcpu, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, t.status,
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
	fmt.Fprintf(&b, "State:\t%c (%s)\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
		letter, state[letter], t.pid, t.tid, t.parentPid())
	b.WriteString("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
	if t.files != nil {
		fmt.Fprintf(&b, "FDSize:\t%d\n", max(64, len(t.files.Open())))
	}
	if t.space != nil {
		fmt.Fprintf(&b, "VmSize:\t%8d kB\nVmRSS:\t%8d kB\n", vsize>>10, rss>>10)
	}
	fmt.Fprintf(&b, "Threads:\t%d\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n",
		t.live, t.pending.set, t.shared.set, t.blocked, t.handled(abi.SIG_IGN), t.handled(2))
	return b.String()
}

// procFDs is /proc/pid/fd: links to where a file was opened. What has no place
// links to a name that this directory itself knows, so that opening the link
// gives the very file, as on Linux.
func (t *Task) procFDs(ino uint64) vfs.Node {
	return &vfs.Dir{
		Ino: ino,
		Find: func(name string) (vfs.Node, error) {
			if t.files == nil {
				return nil, unix.ENOENT
			}
			if fd, err := strconv.Atoi(name); err == nil {
				f, e := t.file(fd)
				if e != 0 {
					return nil, unix.ENOENT
				}
				return &vfs.Link{
					Ino:    ino + 1 + uint64(fd),
					Target: func() (string, error) { return t.fdTarget(f) },
					Jump:   func() *vfs.Dentry { return f.Dentry },
				}, nil
			}
			for _, fd := range t.files.Open() {
				f, _ := t.file(fd)
				if target, err := t.fdTarget(f); err == nil && f.Dentry == nil && target == name {
					return &aliasNode{file: f}, nil
				}
			}
			return nil, unix.ENOENT
		},
		List: func() []vfs.Dirent {
			if t.files == nil {
				return nil
			}
			var list []vfs.Dirent
			for _, fd := range t.files.Open() {
				list = append(list, vfs.Dirent{Ino: ino + 1 + uint64(fd), Type: unix.DT_LNK, Name: strconv.Itoa(fd)})
			}
			return list
		},
	}
}

// fdTarget is what the link of an open file says.
func (t *Task) fdTarget(f *vfs.OpenFile) (string, error) {
	if f.Dentry != nil {
		return t.k.ns.Show(f.Dentry), nil
	}
	if named, ok := f.File.(interface{ LinkName() string }); ok {
		return named.LinkName(), nil
	}
	st, err := f.File.Stat()
	if err != nil {
		return "", err
	}
	kind := "console"
	if st.Type() == unix.S_IFIFO {
		kind = "pipe"
	}
	return fmt.Sprintf("%s:[%d]", kind, st.Ino), nil
}

// aliasNode stands for an open file without a name.
type aliasNode struct {
	vfs.NoNode
	file *vfs.OpenFile
}

func (n *aliasNode) Stat() (vfs.Stat, error) { return n.file.File.Stat() }

func (n *aliasNode) Open(flags int) (vfs.File, error) {
	if flags&unix.O_DIRECTORY != 0 {
		return nil, unix.ENOTDIR
	}
	if _, ok := n.file.File.(*vfs.Socket); ok {
		return nil, unix.ENXIO
	}
	n.file.Ref()
	return aliasFile{n.file.File, n.file}, nil
}

// aliasFile is a second way to an open file, which it keeps open.
type aliasFile struct {
	vfs.File
	of *vfs.OpenFile
}

func (f aliasFile) Close() error { return f.of.Unref() }
