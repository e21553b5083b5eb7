package guest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// maxLinks is how many symbolic links a path may lead through (linux/namei.h).
const maxLinks = 40

func sysOpen(t *Task, a args) (int64, unix.Errno) {
	return t.openPath(cwdFD, a.addr(0), a.int(1), a.u32(2))
}

func sysOpenat(t *Task, a args) (int64, unix.Errno) {
	return t.openPath(a.int(0), a.addr(1), a.int(2), a.u32(3))
}

func sysCreat(t *Task, a args) (int64, unix.Errno) {
	return t.openPath(cwdFD, a.addr(0), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, a.u32(1))
}

func (t *Task) openPath(fd int, at arch.Addr, flags int, mode uint32) (int64, unix.Errno) {
	f, waited := t.call.data.(*vfs.OpenFile)
	if !waited {
		var e unix.Errno
		if f, e = t.openAt(fd, at, flags, mode); e != 0 {
			return 0, e
		}
	}
	// An end of a named pipe waits for the other.
	if vfs.PipeAlone(f.File) && !nonblocking(f) {
		t.call.data = f
		v, e := t.block(errRestartSys, f.File.Queue())
		if e != errBlocked {
			t.call.data = nil
			_ = f.Unref()
		}
		return v, e
	}
	return t.install(f, flags&unix.O_CLOEXEC != 0)
}

func (t *Task) openAt(fd int, at arch.Addr, flags int, mode uint32) (*vfs.OpenFile, unix.Errno) {
	path, e := t.path(at)
	if e != 0 {
		return nil, e
	}
	dir, e := t.base(fd, path)
	if e != 0 {
		return nil, e
	}
	switch {
	case flags&unix.O_PATH == 0 && flags&unix.O_TMPFILE == unix.O_TMPFILE:
		return t.openUnnamed(dir, path, flags, mode)
	case flags&unix.O_CREAT != 0 && flags&unix.O_DIRECTORY != 0 && flags&unix.O_PATH == 0:
		return nil, unix.EINVAL // as Linux since 6.4
	}
	f, err := t.open(dir, path, flags, mode)
	return f, errnoOf(err)
}

// open finds or makes a file and opens it.
func (t *Task) open(dir *vfs.Dentry, path string, flags int, mode uint32) (*vfs.OpenFile, error) {
	if flags&unix.O_PATH != 0 {
		flags &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	var d *vfs.Dentry
	var err error
	if flags&unix.O_CREAT != 0 {
		d, err = t.create(dir, path, flags, mode)
	} else {
		d, err = t.fs.ns.Walk(dir, path, flags&unix.O_NOFOLLOW == 0)
	}
	if err != nil {
		return nil, err
	}
	if flags&unix.O_DIRECTORY != 0 && !isDir(d.Node) {
		return nil, unix.ENOTDIR
	}
	if flags&unix.O_PATH != 0 {
		return newOpenFile(pathFile{node: d.Node}, flags, d), nil
	}
	f, err := d.Node.Open(flags)
	if err != nil {
		return nil, err
	}
	return newOpenFile(f, flags, d), nil
}

// create is the walk of open with O_CREAT. A symbolic link to nothing is
// followed to the place where it points, and the file made there.
func (t *Task) create(dir *vfs.Dentry, path string, flags int, mode uint32) (*vfs.Dentry, error) {
	ns := t.fs.ns
	for range maxLinks + 1 {
		parent, last, slash, err := ns.WalkParent(dir, path)
		if err != nil {
			return nil, err
		}
		special := last == "" || last == "." || last == ".."
		switch {
		case special && flags&unix.O_EXCL != 0:
			return nil, unix.EEXIST
		case special || slash:
			return nil, unix.EISDIR
		}
		d, err := ns.Child(parent, last)
		switch {
		case err == unix.ENOENT:
			if _, err := parent.Node.Create(last, mode&^t.fs.umask&0o7777); err != nil {
				return nil, err
			}
			return ns.Child(parent, last)
		case err != nil:
			return nil, err
		case flags&unix.O_EXCL != 0:
			return nil, unix.EEXIST
		}
		target, err := d.Node.Readlink()
		if err != nil {
			if isDir(d.Node) {
				return nil, unix.EISDIR
			}
			return d, nil // not a link
		}
		if flags&unix.O_NOFOLLOW != 0 {
			return nil, unix.ELOOP
		}
		dir, path = parent, target
	}
	return nil, unix.ELOOP
}

// openUnnamed is open with O_TMPFILE: a file without a name, which linkat can give
// one unless O_EXCL says no.
func (t *Task) openUnnamed(dir *vfs.Dentry, path string, flags int, mode uint32) (*vfs.OpenFile, unix.Errno) {
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, unix.EINVAL
	}
	d, err := t.fs.ns.Walk(dir, path, true)
	if err != nil {
		return nil, errnoOf(err)
	}
	switch {
	case !isDir(d.Node):
		return nil, unix.ENOTDIR
	case vfs.ReadOnly(d.Node):
		return nil, unix.EROFS
	}
	n, err := vfs.NewUnnamed(d.Node, mode&^t.fs.umask&0o7777, flags&unix.O_EXCL == 0)
	if err != nil {
		return nil, errnoOf(err)
	}
	f, err := n.Open(flags & unix.O_ACCMODE)
	if err != nil {
		return nil, errnoOf(err)
	}
	st, err := n.Stat()
	if err != nil {
		return nil, errnoOf(err)
	}
	name := &vfs.Dentry{Parent: d, Name: fmt.Sprintf("#%d", st.Ino), Node: n, Deleted: true}
	return newOpenFile(f, flags&^unix.O_DIRECTORY, name), 0
}

// pathFile is what O_PATH opens: a place, not its contents.
type pathFile struct {
	vfs.NoFile
	node vfs.Node
}

func (f pathFile) Stat() (vfs.Stat, error)                { return f.node.Stat() }
func (pathFile) Read([]byte) (int, error)                 { return 0, unix.EBADF }
func (pathFile) Write([]byte) (int, error)                { return 0, unix.EBADF }
func (pathFile) ReadAt([]byte, int64) (int, error)        { return 0, unix.EBADF }
func (pathFile) WriteAt([]byte, int64) (int, error)       { return 0, unix.EBADF }
func (pathFile) Readdir(int64, int) ([]vfs.Dirent, error) { return nil, unix.EBADF }
func (pathFile) Ioctl(uint32, []byte) error               { return unix.EBADF }
func (pathFile) Truncate(int64) error                     { return unix.EBADF }

// readHead reads the start of a file, for execve; what cannot be read is
// empty.
func (t *Task) readHead(path string, p []byte) int {
	f, err := t.open(t.fs.cwd, path, unix.O_RDONLY, 0)
	if err != nil {
		return 0
	}
	defer f.Unref()
	n, _ := f.File.ReadAt(p, 0)
	return n
}
