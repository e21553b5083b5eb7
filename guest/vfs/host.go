package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// resolve keeps every access to the host inside the root: whatever a path or a
// link says, and whoever renames things meanwhile, the kernel treats the root
// directory as the top. Links inside a path are followed by Namespace alone.
const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

// Host is a host directory, seen read-only or changed in place.
type Host struct {
	fd    int
	write bool
	cache *HostCache
	// dirs are the directories that were seen of a tree that can be changed,
	// each one node, so that it knows its name after a rename.
	dirs map[hostName]*hostNode
}

type hostName struct {
	dir  *hostNode
	name string
}

// NewHost opens a host directory as a tree, for changes if write is set. Close it
// when the guest is gone.
func NewHost(dir string, write bool, cache *HostCache) (*Host, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", dir, err)
	}
	h := &Host{fd: fd, write: write, cache: cache, dirs: make(map[hostName]*hostNode)}
	probe, err := h.open(".", unix.O_PATH, 0)
	if err != nil {
		unix.Close(fd)
		if err == unix.ENOSYS {
			return nil, fmt.Errorf("this host has no openat2 (needs Linux 5.6): %w", err)
		}
		return nil, fmt.Errorf("open directory %s: %w", dir, err)
	}
	unix.Close(probe)
	return h, nil
}

// Root is the tree's root directory.
func (h *Host) Root() Node { return &hostNode{host: h, typ: unix.S_IFDIR} }

// ReadOnly reports whether a node is on a file system that cannot be changed.
func ReadOnly(n Node) bool {
	h, ok := n.(*hostNode)
	return ok && !h.host.write
}

// Close gives the directory back; no node may be used any more.
func (h *Host) Close() error { return unix.Close(h.fd) }

func (h *Host) open(path string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: resolve}
	for {
		fd, err := unix.Openat2(h.fd, path, &how)
		// EAGAIN: something was renamed while the path was looked up.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func statFD(fd int) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Stat{}, err
	}
	return Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint64(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blksize: int64(st.Blksize), Blocks: st.Blocks,
		Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim,
	}, nil
}

// hostNode is a name below the root.
type hostNode struct {
	NoNode
	host   *Host
	parent *hostNode // nil for the root
	name   string
	gone   bool // a directory that the guest has removed
	// found is what Lookup saw of a file in a tree that does not change; the
	// first Stat uses it up, so that finding and looking at a file costs one
	// visit to the host and a node that is kept does not go stale.
	found  *Stat
	typ    uint32
	dentry *Dentry // of a directory in host.dirs
}

// path is the node's, below the root and without links.
func (n *hostNode) path() string {
	switch {
	case n.parent == nil:
		return "."
	case n.parent.parent == nil:
		return n.name
	}
	return n.parent.path() + "/" + n.name
}

// open opens the node itself, never what it links to.
func (n *hostNode) open(flags int) (int, error) {
	if n.gone {
		return -1, unix.ENOENT
	}
	return n.host.open(n.path(), flags|unix.O_NOFOLLOW, 0)
}

// with calls f with a descriptor that stands for the node but opens nothing.
func (n *hostNode) with(f func(fd int) error) error {
	fd, err := n.open(unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

func (n *hostNode) Stat() (st Stat, err error) {
	if n.found != nil {
		st := *n.found
		n.found = nil
		return st, nil
	}
	if n.gone {
		// Whoever is still inside sees a directory without a name.
		return Stat{Mode: unix.S_IFDIR | 0o755, Blksize: pageSize}, nil
	}
	err = n.with(func(fd int) error {
		st, err = statFD(fd)
		return err
	})
	return st, err
}

func (n *hostNode) Lookup(name string) (Node, error) {
	c := &hostNode{host: n.host, parent: n, name: name, gone: n.gone}
	key := hostName{n, name}
	st, err := c.Stat()
	if err == nil && n.gone {
		err = unix.ENOENT
	}
	if err != nil {
		delete(n.host.dirs, key)
		return nil, err
	}
	c.typ = st.Type()
	if !n.host.write {
		c.found = &st
		return c, nil
	}
	if !st.IsDir() {
		delete(n.host.dirs, key)
		return c, nil
	}
	if known := n.host.dirs[key]; known != nil {
		return known, nil
	}
	n.host.dirs[key] = c
	return c, nil
}

func (n *hostNode) Statfs() (info FSInfo, err error) {
	err = n.with(func(fd int) error {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err != nil {
			return err
		}
		info = FSInfo{
			Type: st.Type, BlockSize: st.Bsize, Blocks: st.Blocks, Free: st.Bfree, Avail: st.Bavail,
			Files: st.Files, FreeFiles: st.Ffree,
		}
		if !n.host.write {
			info.Flags = unix.ST_RDONLY
		}
		return nil
	})
	return info, err
}

func (n *hostNode) Readlink() (target string, err error) {
	if n.typ != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	err = n.with(func(fd int) error {
		buf := make([]byte, maxPath)
		size, err := unix.Readlinkat(fd, "", buf)
		target = string(buf[:max(size, 0)])
		return err
	})
	return target, err
}

func (n *hostNode) Open(flags int) (File, error) {
	if n.host.write {
		return n.openWritable(flags)
	}
	st, err := n.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case st.Type() == unix.S_IFLNK:
		return nil, unix.ELOOP
	case st.Type() != unix.S_IFREG && !st.IsDir():
		return nil, unix.ENXIO // the host's devices, sockets and pipes are not the guest's
	case st.IsDir() && changes(flags):
		return nil, unix.EISDIR
	case changes(flags):
		return nil, unix.EROFS
	}
	// O_NONBLOCK in case it became a pipe since.
	fd, err := n.open(unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return newHostFile(n.host, fd, &st), nil
}

// openWritable opens a node of a tree that can be changed. What is looked at is
// what is opened, whatever the host renames in between.
func (n *hostNode) openWritable(flags int) (File, error) {
	fd, err := n.open(unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	st, err := statFD(fd)
	switch {
	case err != nil:
		return nil, err
	case st.Type() == unix.S_IFLNK:
		return nil, unix.ELOOP
	case st.IsDir() && changes(flags):
		return nil, unix.EISDIR
	case st.Type() != unix.S_IFREG && !st.IsDir():
		return nil, unix.ENXIO
	}
	opened, err := unix.Open(selfFD(fd), flags&(unix.O_ACCMODE|unix.O_TRUNC)|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := newHostFile(n.host, opened, &st)
	if r, ok := f.(*hostRegular); ok && flags&unix.O_TRUNC != 0 {
		r.shrunk(0)
	}
	return f, nil
}

// selfFD is the name of what a descriptor of this process stands for.
func selfFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// Place implements placer.
func (n *hostNode) Place(d *Dentry, name string) *Dentry {
	if !n.host.write {
		return nil
	}
	n.dentry = d
	node, err := n.Lookup(name)
	if err != nil {
		return nil // Lookup says it again
	}
	c := node.(*hostNode)
	if c.typ != unix.S_IFDIR {
		return &Dentry{Parent: d, Name: name, Node: c}
	}
	if c.dentry == nil {
		c.dentry = &Dentry{Parent: d, Name: name, Node: c}
	}
	return c.dentry
}
