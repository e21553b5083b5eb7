package vfs

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// resolve keeps every access to the host inside the root: whatever a path or a
// link says, and whoever renames things meanwhile, the kernel treats the root
// directory as the top. Links inside a path are followed by Namespace alone.
const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

// Host is a host directory, seen read-only.
type Host struct {
	fd int
}

// NewHost opens a host directory as a tree. Close it when the guest is gone.
func NewHost(dir string) (*Host, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root directory %s: %w", dir, err)
	}
	h := &Host{fd: fd}
	probe, err := h.open(".", unix.O_PATH)
	if err != nil {
		unix.Close(fd)
		if err == unix.ENOSYS {
			return nil, fmt.Errorf("this host has no openat2 (needs Linux 5.6): %w", err)
		}
		return nil, fmt.Errorf("open root directory %s: %w", dir, err)
	}
	unix.Close(probe)
	return h, nil
}

// Root is the tree's root directory.
func (h *Host) Root() Node { return &hostNode{host: h, path: "."} }

// Close gives the directory back; no node may be used any more.
func (h *Host) Close() error { return unix.Close(h.fd) }

func (h *Host) open(path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for {
		fd, err := unix.Openat2(h.fd, path, &how)
		// EAGAIN: something was renamed while the path was looked up.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// stat looks a path up without following a link at its end.
func (h *Host) stat(path string) (Stat, error) {
	fd, err := h.open(path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(fd)
	return statFD(fd)
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

// hostNode is a path below the root without links, "." being the root.
type hostNode struct {
	NoNode
	host *Host
	path string
	// found is what Lookup saw; the first Stat uses it up, so that finding
	// and looking at a file costs one visit to the host and a node that is
	// kept does not go stale.
	found *Stat
	typ   uint32
}

func (n *hostNode) Stat() (Stat, error) {
	if n.found != nil {
		st := *n.found
		n.found = nil
		return st, nil
	}
	return n.host.stat(n.path)
}

func (n *hostNode) Lookup(name string) (Node, error) {
	path := name
	if n.path != "." {
		path = n.path + "/" + name
	}
	st, err := n.host.stat(path)
	if err != nil {
		return nil, err
	}
	return &hostNode{host: n.host, path: path, found: &st, typ: st.Type()}, nil
}

func (n *hostNode) Readlink() (string, error) {
	if n.typ != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	fd, err := n.host.open(n.path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, maxPath)
	size, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:size]), nil
}

func (n *hostNode) Open(flags int) (File, error) {
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
	fd, err := n.host.open(n.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return &hostFile{fd: fd, dir: st.IsDir()}, nil
}

// Changes to a directory of the host: what is there decides between EEXIST and
// EROFS, as in Linux.
func (n *hostNode) exists(name string) error {
	if _, err := n.Lookup(name); err == nil {
		return unix.EEXIST
	}
	return unix.EROFS
}

func (n *hostNode) Create(name string, _ uint32) (Node, error) { return nil, n.exists(name) }
func (n *hostNode) Mkdir(name string, _ uint32) error          { return n.exists(name) }
func (n *hostNode) Symlink(name, _ string) error               { return n.exists(name) }
func (n *hostNode) Link(name string, _ Node) error             { return n.exists(name) }

// IsHost reports whether f is a file of the host, whose content the guest cannot
// change.
func IsHost(f File) bool {
	_, ok := f.(*hostFile)
	return ok
}

type hostFile struct {
	NoFile
	fd      int
	dir     bool
	entries []Dirent // read once, so that positions stay good
}

func (f *hostFile) Stat() (Stat, error) { return statFD(f.fd) }
func (f *hostFile) Seekable() bool      { return true }
func (f *hostFile) Close() error        { return unix.Close(f.fd) }

func (f *hostFile) ReadAt(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, p, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func (f *hostFile) WriteAt([]byte, int64) (int, error) { return 0, unix.EBADF }

func (f *hostFile) Readdir(pos int64, limit int) ([]Dirent, error) {
	if !f.dir {
		return nil, unix.ENOTDIR
	}
	if f.entries == nil || pos == 0 {
		if err := f.readAll(); err != nil {
			return nil, err
		}
	}
	if pos < 0 || pos >= int64(len(f.entries)) {
		return nil, nil
	}
	list := f.entries[pos:]
	return list[:min(limit, len(list))], nil
}

// Offsets in struct linux_dirent64 (linux/dirent.h).
const (
	direntReclen = 16
	direntDType  = 18
	direntName   = 19
)

func (f *hostFile) readAll() error {
	f.entries = nil
	if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(f.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			size := binary.LittleEndian.Uint16(b[direntReclen:])
			name, _, _ := strings.Cut(string(b[direntName:size]), "\x00")
			f.entries = append(f.entries, Dirent{
				Ino: binary.LittleEndian.Uint64(b), Type: b[direntDType], Name: name,
				Next: int64(len(f.entries) + 1),
			})
			b = b[size:]
		}
	}
}
