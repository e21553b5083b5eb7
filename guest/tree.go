package guest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
	"goskas/guest/wait"
)

// Mount points of the trees that every guest has.
const (
	devDir  = "/dev"
	procDir = "/proc"
	toyDir  = "/toy"
)

// tmpDirs are writable trees of their own.
var tmpDirs = []string{"/tmp", "/run", "/dev/shm"}

// buildTree makes the guest's tree of files:
//
//	/             the host's Config.Root, read-only, or an empty writable tree
//	/tmp, /run,
//	/dev/shm      writable
//	/toy          Config.Files
//	/dev, /proc   devices and what the kernel tells of itself
//	...           Config.Binds
func (k *Kernel) buildTree() error {
	var root vfs.Node
	newTmp := func() vfs.Node { return k.newTmp(k.cfg.TmpSize).Root() }
	if k.cfg.Root != "" {
		host, err := k.newHost(k.cfg.Root, false)
		if err != nil {
			return err
		}
		root = host.Root()
	} else {
		root = newTmp()
		for _, dir := range []string{devDir, procDir, toyDir, "/tmp", "/run"} {
			if err := root.Mkdir(dir[1:], 0o755); err != nil {
				return fmt.Errorf("make %s: %w", dir, err)
			}
		}
	}
	if err := k.initTTY(); err != nil {
		return err
	}

	k.ns = vfs.NewNamespace(root)
	for _, dir := range tmpDirs {
		k.ns.Mount(dir, newTmp())
	}
	toy := newTmp()
	for _, name := range slices.Sorted(maps.Keys(k.cfg.Files)) {
		if err := placeFile(toy, name, k.cfg.Files[name]); err != nil {
			return fmt.Errorf("place %s: %w", name, err)
		}
	}
	k.ns.Mount(toyDir, toy)
	k.ns.Mount(devDir, k.devices())
	k.ns.Mount(procDir, k.procRoot())
	for _, b := range k.cfg.Binds {
		if err := k.bind(b); err != nil {
			return &BindError{b, err}
		}
	}
	return nil
}

// BindError says why a directory of the host cannot be shown where it is wanted.
type BindError struct {
	Bind Bind
	Err  error
}

func (e *BindError) Error() string { return fmt.Sprintf("bind %s: %v", e.Bind.Guest, e.Err) }
func (e *BindError) Unwrap() error { return e.Err }

// bind mounts a directory of the host, on a directory that is there or, in a
// tree in memory, made for it.
func (k *Kernel) bind(b Bind) error {
	switch b.Guest {
	case "/", devDir, procDir, toyDir:
		return fmt.Errorf("%s is the guest's own; give another place", b.Guest)
	}
	dir, rest := k.ns.Root(), strings.Trim(b.Guest, "/")
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next, err := k.ns.Child(dir, name)
		if err == unix.ENOENT && vfs.IsTmp(dir.Node) {
			if err := dir.Node.Mkdir(name, 0o755); err != nil {
				return err
			}
			next, err = k.ns.Child(dir, name)
		}
		switch {
		case err == unix.ENOENT:
			return fmt.Errorf("%w: give a place that is there, or one below /tmp or /run", err)
		case err != nil:
			return err
		}
		if target, err := next.Node.Readlink(); err == nil {
			return fmt.Errorf("%s is a symbolic link to %s", k.ns.Path(next), target)
		}
		if !isDir(next.Node) {
			return fmt.Errorf("%s: %w", k.ns.Path(next), unix.ENOTDIR)
		}
		dir = next
	}
	h, err := k.newHost(b.Host, b.Write)
	if err != nil {
		return err
	}
	k.ns.Mount(b.Guest, h.Root())
	return nil
}

// newTmp makes a tree in memory.
func (k *Kernel) newTmp(limit int64) *vfs.Tmp {
	t := vfs.NewTmp(uint64(len(k.tmps))+1, limit, k.fileMemory(), k.device)
	k.tmps = append(k.tmps, t)
	return t
}

// newHost makes a tree of a directory of the host.
func (k *Kernel) newHost(dir string, write bool) (*vfs.Host, error) {
	h, err := vfs.NewHost(dir, write, k.files)
	if err == nil {
		k.hosts = append(k.hosts, h)
	}
	return h, err
}

func (k *Kernel) fileMemory() vfs.Memory { return fileMemory{k.mem, k} }

// fileCacheShare is the part of memory that cached pages of the host's files may
// take.
const fileCacheShare = 4

// closeTree gives host descriptors and the frames of files back.
func (k *Kernel) closeTree() error {
	k.closeTTY()
	for _, t := range k.tmps {
		t.Close()
	}
	k.files.Close()
	var errs []error
	for _, h := range k.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// placeFile puts an executable file into a tree.
func placeFile(dir vfs.Node, name string, content []byte) error {
	for {
		head, rest, more := strings.Cut(strings.Trim(name, "/"), "/")
		if !more {
			name = head
			break
		}
		if err := dir.Mkdir(head, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		sub, err := dir.Lookup(head)
		if err != nil {
			return err
		}
		dir, name = sub, rest
	}
	n, err := dir.Create(name, 0o755)
	if err != nil {
		return err
	}
	f, err := n.Open(unix.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Close())
}

// devices is /dev.
func (k *Kernel) devices() vfs.Node {
	nodes := vfs.Devices()
	link := func(ino uint64, to string) vfs.Node {
		return &vfs.Link{Ino: ino, Target: func() (string, error) { return to, nil }}
	}
	nodes["fd"] = link(201, "/proc/self/fd")
	nodes["stdin"] = link(202, "/proc/self/fd/0")
	nodes["stdout"] = link(203, "/proc/self/fd/1")
	nodes["stderr"] = link(204, "/proc/self/fd/2")
	// Numbers: Documentation/admin-guide/devices.txt, major 5.
	nodes["tty"] = &vfs.Device{Ino: 205, Rdev: unix.Mkdev(5, 0), OpenFn: k.openDevTTY}
	k.tty.device = &vfs.Device{Ino: 206, Rdev: unix.Mkdev(5, 1), OpenFn: k.openConsole}
	nodes["console"] = k.tty.device
	nodes["ptmx"] = &vfs.Device{Ino: 207, Rdev: unix.Mkdev(5, 2), OpenFn: k.ptmx}
	k.deviceNumbers = make(map[uint64]*vfs.Device)
	for _, n := range nodes {
		if d, ok := n.(*vfs.Device); ok {
			k.deviceNumbers[d.Rdev] = d
		}
	}
	nodes["pts"] = k.ptsDir()
	return vfs.Entries(200, nodes)
}

// device finds a character device by number.
func (k *Kernel) device(rdev uint64) *vfs.Device { return k.deviceNumbers[rdev] }

// ttyFile is /dev/tty: reading is standard input, writing standard output.
type ttyFile struct {
	vfs.NoFile
	node    *vfs.Device
	in, out vfs.File
}

func (f *ttyFile) Stat() (vfs.Stat, error)            { return f.node.Stat() }
func (f *ttyFile) Read(p []byte) (int, error)         { return f.in.Read(p) }
func (f *ttyFile) Write(p []byte) (int, error)        { return f.out.Write(p) }
func (f *ttyFile) Ioctl(cmd uint32, arg []byte) error { return f.in.Ioctl(cmd, arg) }
func (f *ttyFile) Control() *vfs.Control              { return vfs.ControlOf(f.in) }
func (f *ttyFile) Queue() *wait.Queue                 { return f.in.Queue() }

func (f *ttyFile) Ready() int16 {
	const write = unix.POLLOUT | pollWrNorm
	return f.in.Ready()&^write | f.out.Ready()&write
}

const pollWrNorm = 0x100 // POLLWRNORM (asm-generic/poll.h)
