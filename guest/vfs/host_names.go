package vfs

import "golang.org/x/sys/unix"

// exists is how a change to a directory that cannot be changed fails: what is
// there decides between EEXIST and EROFS, as in Linux.
func (n *hostNode) exists(name string) error {
	if _, err := n.Lookup(name); err == nil {
		return unix.EEXIST
	}
	return unix.EROFS
}

// inDir calls f with a descriptor of the directory, for a call that takes one and
// a name in it. None of those follows a link at that name.
func (n *hostNode) inDir(name string, f func(dir int) error) error {
	if !n.host.write {
		return n.exists(name)
	}
	return n.change(f)
}

func (n *hostNode) change(f func(dir int) error) error {
	if !n.host.write {
		return unix.EROFS
	}
	fd, err := n.open(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

// setID are the bits that would lend the monitor's rights to whoever runs the
// file on the host.
const setID = unix.S_ISUID | unix.S_ISGID

func (n *hostNode) Create(name string, mode uint32) (Node, error) {
	err := n.inDir(name, func(dir int) error {
		switch kind := mode & unix.S_IFMT; {
		case kind != 0 && kind != unix.S_IFREG, mode&setID != 0:
			return unix.EPERM // no pipes, sockets or devices on the host
		}
		fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o7777)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return fixMode(fd, mode)
	})
	if err != nil {
		return nil, err
	}
	return n.Lookup(name)
}

// fixMode undoes what the monitor's own umask has taken from a new file.
func fixMode(fd int, mode uint32) error {
	st, err := statFD(fd)
	if err != nil || st.Mode&0o1777 == mode&0o1777 {
		return err
	}
	return unix.Fchmod(fd, mode&0o1777|st.Mode&setID)
}

func (n *hostNode) Mkdir(name string, mode uint32) error {
	return n.inDir(name, func(dir int) error {
		if err := unix.Mkdirat(dir, name, mode&0o1777); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return fixMode(fd, mode)
	})
}

func (n *hostNode) Symlink(name, target string) error {
	return n.inDir(name, func(dir int) error { return unix.Symlinkat(target, dir, name) })
}

func (n *hostNode) Link(name string, target Node) error {
	return n.inDir(name, func(dir int) error {
		from, ok := target.(*hostNode)
		switch {
		case !ok || from.host != n.host:
			return unix.EXDEV
		case from.parent == nil:
			return unix.EPERM
		}
		return from.parent.change(func(fromDir int) error {
			return unix.Linkat(fromDir, from.name, dir, name, 0)
		})
	})
}

func (n *hostNode) Unlink(name string) error {
	return n.change(func(dir int) error { return unix.Unlinkat(dir, name, 0) })
}

func (n *hostNode) Rmdir(name string) error {
	err := n.change(func(dir int) error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
	if err == nil {
		n.forget(name)
	}
	return err
}

// forget is for a directory of a name that is gone.
func (n *hostNode) forget(name string) {
	key := hostName{n, name}
	if d := n.host.dirs[key]; d != nil {
		delete(n.host.dirs, key)
		d.gone = true
		if d.dentry != nil {
			d.dentry.Deleted = true
		}
	}
}

func (n *hostNode) Rename(oldName string, newDir Node, newName string, flags uint) error {
	to, ok := newDir.(*hostNode)
	if !ok || to.host != n.host {
		return unix.EXDEV
	}
	err := n.change(func(from int) error {
		return to.change(func(dir int) error {
			return unix.Renameat2(from, oldName, dir, newName, flags)
		})
	})
	if err != nil || n == to && oldName == newName {
		return err
	}
	h, oldKey, newKey := n.host, hostName{n, oldName}, hostName{to, newName}
	moved, over := h.dirs[oldKey], h.dirs[newKey]
	delete(h.dirs, oldKey)
	if flags&unix.RENAME_EXCHANGE != 0 {
		delete(h.dirs, newKey)
		over.moved(n, oldName)
	} else {
		to.forget(newName)
	}
	moved.moved(to, newName)
	return nil
}

// moved gives a known directory, nil for none, its new name.
func (n *hostNode) moved(to *hostNode, name string) {
	if n == nil {
		return
	}
	n.parent, n.name = to, name
	n.host.dirs[hostName{to, name}] = n
	if n.dentry != nil {
		n.dentry.Parent, n.dentry.Name = to.dentry, name
	}
}

// The attributes of a node are changed through a descriptor that stands for it.

func (n *hostNode) Chmod(mode uint32) error {
	return n.attribute(func(fd int) error { return hostChmod(fd, n.typ, mode) })
}

func (n *hostNode) Chown(uid, gid int) error {
	return n.attribute(func(fd int) error { return hostChown(fd, uid, gid) })
}

func (n *hostNode) Utimes(atime, mtime unix.Timespec) error {
	return n.attribute(func(fd int) error { return hostUtimes(fd, atime, mtime) })
}

func (n *hostNode) attribute(f func(fd int) error) error {
	if !n.host.write {
		return unix.EROFS
	}
	return n.with(f)
}

func hostChmod(fd int, typ, mode uint32) error {
	switch {
	case typ == unix.S_IFLNK:
		return unix.EOPNOTSUPP
	case typ == unix.S_IFREG && mode&setID != 0:
		return unix.EPERM
	}
	return unix.Chmod(selfFD(fd), mode)
}

func hostChown(fd, uid, gid int) error {
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

func hostUtimes(fd int, atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{atime, mtime}, unix.AT_EMPTY_PATH)
}

func (n *hostNode) Truncate(size int64) error {
	if !n.host.write {
		return unix.EROFS
	}
	f, err := n.Open(unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}
