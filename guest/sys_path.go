package guest

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// errnoOf is the errno in an error of vfs.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// dentryOf is the place that a descriptor was opened at.
func (t *Task) dentryOf(fd int) (*vfs.Dentry, unix.Errno) {
	f, e := t.file(fd)
	if e != 0 {
		return nil, e
	}
	if f.Dentry == nil {
		return nil, unix.ENOTDIR
	}
	return f.Dentry, 0
}

// base is where a path given with directory descriptor fd starts.
func (t *Task) base(fd int, path string) (*vfs.Dentry, unix.Errno) {
	if fd == unix.AT_FDCWD || strings.HasPrefix(path, "/") {
		return t.fs.cwd, 0
	}
	return t.dentryOf(fd)
}

// lookup finds the file that a path argument names.
func (t *Task) lookup(fd int, a arch.Addr, follow bool) (*vfs.Dentry, unix.Errno) {
	path, e := t.path(a)
	if e != 0 {
		return nil, e
	}
	return t.walk(fd, path, follow)
}

func (t *Task) walk(fd int, path string, follow bool) (*vfs.Dentry, unix.Errno) {
	dir, e := t.base(fd, path)
	if e != 0 {
		return nil, e
	}
	d, err := t.fs.ns.Walk(dir, path, follow)
	return d, errnoOf(err)
}

// lookupFlags is lookup with AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH.
func (t *Task) lookupFlags(fd int, a arch.Addr, flags int) (*vfs.Dentry, unix.Errno) {
	path, e := t.path(a)
	if e != 0 {
		return nil, e
	}
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if fd == unix.AT_FDCWD {
			return t.fs.cwd, 0
		}
		return t.dentryOf(fd)
	}
	return t.walk(fd, path, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
}

// place is a directory and the last part of a path: where a name is to be
// made or removed.
type place struct {
	dir  *vfs.Dentry
	name string
	// slash: the path ended in one, so that only a directory will do.
	slash bool
}

// special says that the name is not one that could be made or removed.
func (p *place) special() bool { return p.name == "" || p.name == "." || p.name == ".." }

func (t *Task) place(fd int, a arch.Addr) (place, unix.Errno) {
	path, e := t.path(a)
	if e != 0 {
		return place{}, e
	}
	dir, e := t.base(fd, path)
	if e != 0 {
		return place{}, e
	}
	d, last, slash, err := t.fs.ns.WalkParent(dir, path)
	return place{d, last, slash}, errnoOf(err)
}

// newPlace is place for a name that must not exist and is not to be a
// directory.
func (t *Task) newPlace(fd int, a arch.Addr) (place, unix.Errno) {
	p, e := t.place(fd, a)
	switch {
	case e != 0:
		return p, e
	case p.special():
		return p, unix.EEXIST
	}
	if e := t.absent(p); e != 0 {
		return p, e
	}
	if p.slash {
		return p, unix.ENOENT
	}
	return p, 0
}

// absent says that nothing has the name of a place: EEXIST, or why that cannot be
// told.
func (t *Task) absent(p place) unix.Errno {
	switch _, err := t.fs.ns.Child(p.dir, p.name); err {
	case nil:
		return unix.EEXIST
	case unix.ENOENT:
		return 0
	default:
		return errnoOf(err)
	}
}

const cwdFD = unix.AT_FDCWD

func sysGetcwd(t *Task, a args) (int64, unix.Errno) {
	// A directory that has been removed has no name any more.
	if st, err := t.fs.cwd.Node.Stat(); err != nil || st.Nlink == 0 {
		return 0, unix.ENOENT
	}
	path := t.fs.ns.Path(t.fs.cwd)
	if !t.fs.ns.Reachable(t.fs.cwd) {
		path = "(unreachable)" + path
	}
	if uint64(len(path)+1) > a[1] {
		return 0, unix.ERANGE
	}
	return int64(len(path) + 1), t.copyOut(a.addr(0), append([]byte(path), 0))
}

func sysChdir(t *Task, a args) (int64, unix.Errno) {
	d, e := t.lookup(cwdFD, a.addr(0), true)
	if e != 0 {
		return 0, e
	}
	return t.chdir(d)
}

func sysFchdir(t *Task, a args) (int64, unix.Errno) {
	d, e := t.dentryOf(a.int(0))
	if e != 0 {
		return 0, e
	}
	return t.chdir(d)
}

func (t *Task) chdir(d *vfs.Dentry) (int64, unix.Errno) {
	st, err := d.Node.Stat()
	if err != nil {
		return 0, errnoOf(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, unix.ENOTDIR
	}
	t.fs.cwd = d
	return 0, 0
}

// sysChroot changes the root directory. As on Linux the working directory stays,
// and may be outside.
func sysChroot(t *Task, a args) (int64, unix.Errno) {
	d, e := t.lookup(cwdFD, a.addr(0), true)
	switch {
	case e != 0:
		return 0, e
	case !isDir(d.Node):
		return 0, unix.ENOTDIR
	}
	t.fs.ns = t.fs.ns.Chroot(d)
	return 0, 0
}

func sysMkdir(t *Task, a args) (int64, unix.Errno) { return t.mkdirAt(cwdFD, a.addr(0), a.u32(1)) }
func sysMkdirat(t *Task, a args) (int64, unix.Errno) {
	return t.mkdirAt(a.int(0), a.addr(1), a.u32(2))
}

func (t *Task) mkdirAt(fd int, path arch.Addr, mode uint32) (int64, unix.Errno) {
	p, e := t.place(fd, path)
	if e != 0 {
		return 0, e
	}
	if p.special() {
		return 0, unix.EEXIST
	}
	if e := t.absent(p); e != 0 {
		return 0, e
	}
	return 0, errnoOf(p.dir.Node.Mkdir(p.name, mode&^t.fs.umask&0o1777))
}

func sysMknod(t *Task, a args) (int64, unix.Errno) {
	return t.mknodAt(cwdFD, a.addr(0), a.u32(1), a.u32(2))
}
func sysMknodat(t *Task, a args) (int64, unix.Errno) {
	return t.mknodAt(a.int(0), a.addr(1), a.u32(2), a.u32(3))
}

func (t *Task) mknodAt(fd int, path arch.Addr, mode, dev uint32) (int64, unix.Errno) {
	device := false
	switch mode & unix.S_IFMT {
	case 0, unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFCHR, unix.S_IFBLK:
		device = true
	case unix.S_IFDIR:
		return 0, unix.EPERM
	default:
		return 0, unix.EINVAL
	}
	p, e := t.newPlace(fd, path)
	if e != 0 {
		return 0, e
	}
	mode = mode&unix.S_IFMT | mode&^t.fs.umask&0o7777
	if device {
		return 0, errnoOf(vfs.MakeDevice(p.dir.Node, p.name, mode, uint64(dev)))
	}
	_, err := p.dir.Node.Create(p.name, mode)
	return 0, errnoOf(err)
}

func sysRmdir(t *Task, a args) (int64, unix.Errno)  { return t.unlinkAt(cwdFD, a.addr(0), true) }
func sysUnlink(t *Task, a args) (int64, unix.Errno) { return t.unlinkAt(cwdFD, a.addr(0), false) }

func sysUnlinkat(t *Task, a args) (int64, unix.Errno) {
	if a.int(2)&^unix.AT_REMOVEDIR != 0 {
		return 0, unix.EINVAL
	}
	return t.unlinkAt(a.int(0), a.addr(1), a.int(2) != 0)
}

func (t *Task) unlinkAt(fd int, path arch.Addr, dir bool) (int64, unix.Errno) {
	p, e := t.place(fd, path)
	if e != 0 {
		return 0, e
	}
	if p.special() {
		switch {
		case !dir:
			return 0, unix.EISDIR
		case p.name == ".":
			return 0, unix.EINVAL
		case p.name == "..":
			return 0, unix.ENOTEMPTY
		}
		return 0, unix.EBUSY
	}
	d, err := t.fs.ns.Child(p.dir, p.name)
	switch {
	case err != nil:
		return 0, errnoOf(err)
	case t.fs.ns.IsMount(d):
		return 0, unix.EBUSY
	case dir:
		return 0, errnoOf(p.dir.Node.Rmdir(p.name))
	case p.slash && !isDir(d.Node):
		return 0, unix.ENOTDIR
	}
	return 0, errnoOf(p.dir.Node.Unlink(p.name))
}

func isDir(n vfs.Node) bool {
	st, err := n.Stat()
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func sysRename(t *Task, a args) (int64, unix.Errno) {
	return t.renameAt(cwdFD, a.addr(0), cwdFD, a.addr(1), 0)
}

func sysRenameat(t *Task, a args) (int64, unix.Errno) {
	return t.renameAt(a.int(0), a.addr(1), a.int(2), a.addr(3), 0)
}

func sysRenameat2(t *Task, a args) (int64, unix.Errno) {
	return t.renameAt(a.int(0), a.addr(1), a.int(2), a.addr(3), a.u32(4))
}

func (t *Task) renameAt(oldFD int, oldPath arch.Addr, newFD int, newPath arch.Addr, flags uint32) (int64, unix.Errno) {
	noReplace, exchange := flags&unix.RENAME_NOREPLACE != 0, flags&unix.RENAME_EXCHANGE != 0
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 || noReplace && exchange {
		return 0, unix.EINVAL
	}
	from, e := t.place(oldFD, oldPath)
	if e != 0 {
		return 0, e
	}
	to, e := t.place(newFD, newPath)
	if e != 0 {
		return 0, e
	}
	// The order of the checks is that of Linux (do_renameat2 in fs/namei.c).
	switch {
	case from.special() || to.special() && !noReplace:
		return 0, unix.EBUSY
	case to.special():
		return 0, unix.EEXIST
	}
	d, err := t.fs.ns.Child(from.dir, from.name)
	if err != nil {
		return 0, errnoOf(err)
	}
	over, err := t.fs.ns.Child(to.dir, to.name)
	switch {
	case err != nil && err != unix.ENOENT:
		return 0, errnoOf(err)
	case err == nil && noReplace:
		return 0, unix.EEXIST
	case err != nil && exchange:
		return 0, unix.ENOENT
	case exchange && to.slash && !isDir(over.Node):
		return 0, unix.ENOTDIR
	case (from.slash || to.slash && !exchange) && !isDir(d.Node):
		return 0, unix.ENOTDIR
	case t.fs.ns.IsMount(d) || err == nil && t.fs.ns.IsMount(over):
		return 0, unix.EBUSY
	}
	return 0, errnoOf(from.dir.Node.Rename(from.name, to.dir.Node, to.name, uint(flags)))
}

func sysLink(t *Task, a args) (int64, unix.Errno) {
	return t.linkAt(cwdFD, a.addr(0), cwdFD, a.addr(1), unix.AT_SYMLINK_NOFOLLOW)
}

func sysLinkat(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(4)
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	// This call alone has a flag to follow, not one against it.
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return t.linkAt(a.int(0), a.addr(1), a.int(2), a.addr(3), flags)
}

func (t *Task) linkAt(oldFD int, oldPath arch.Addr, newFD int, newPath arch.Addr, flags int) (int64, unix.Errno) {
	d, e := t.lookupFlags(oldFD, oldPath, flags)
	if e != 0 {
		return 0, e
	}
	p, e := t.newPlace(newFD, newPath)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(p.dir.Node.Link(p.name, d.Node))
}

func sysSymlink(t *Task, a args) (int64, unix.Errno) {
	return t.symlinkAt(a.addr(0), cwdFD, a.addr(1))
}

func sysSymlinkat(t *Task, a args) (int64, unix.Errno) {
	return t.symlinkAt(a.addr(0), a.int(1), a.addr(2))
}

func (t *Task) symlinkAt(target arch.Addr, fd int, path arch.Addr) (int64, unix.Errno) {
	to, e := t.path(target)
	if e != 0 {
		return 0, e
	}
	if to == "" {
		return 0, unix.ENOENT
	}
	p, e := t.newPlace(fd, path)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(p.dir.Node.Symlink(p.name, to))
}

func sysReadlink(t *Task, a args) (int64, unix.Errno) {
	return t.readlinkAt(cwdFD, a.addr(0), a.addr(1), a.int(2))
}

func sysReadlinkat(t *Task, a args) (int64, unix.Errno) {
	return t.readlinkAt(a.int(0), a.addr(1), a.addr(2), a.int(3))
}

func (t *Task) readlinkAt(fd int, path, buf arch.Addr, size int) (int64, unix.Errno) {
	if size <= 0 {
		return 0, unix.EINVAL
	}
	d, e := t.lookupFlags(fd, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if e != 0 {
		return 0, e
	}
	to, err := d.Node.Readlink()
	if err != nil {
		if name, e := t.path(path); e == 0 && name == "" {
			return 0, unix.ENOENT // only a descriptor of a link may come without a name
		}
		return 0, errnoOf(err)
	}
	to = to[:min(len(to), size)]
	return int64(len(to)), t.copyOut(buf, []byte(to))
}

func sysUmask(t *Task, a args) (int64, unix.Errno) {
	prev := t.fs.umask
	t.fs.umask = a.u32(0) & 0o777
	return int64(prev), 0
}
