package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// checkNew refuses a name that cannot be made in n.
func (n *tmpNode) checkNew(name string) error {
	switch {
	case !n.isDir():
		return unix.ENOTDIR
	case n.nlink == 0:
		return unix.ENOENT // removed while somebody is in it
	case n.kids[name] != nil:
		return unix.EEXIST
	case n.fs.full():
		return unix.ENOSPC
	}
	return nil
}

func (n *tmpNode) add(name string, kid *tmpNode) {
	n.insert(&tmpEntry{node: kid}, name)
}

// insert puts an entry, new or from elsewhere, under a name.
func (n *tmpNode) insert(e *tmpEntry, name string) {
	e.name, e.seq = name, n.nextSeq
	n.nextSeq++
	n.kids[name] = e
	n.order = append(n.order, e)
	n.fs.names++
	if e.node.isDir() {
		e.node.parent = n
		n.nlink++
	}
	n.changed()
}

// remove takes an entry out; what becomes of its node is the caller's business.
func (n *tmpNode) remove(name string) {
	e := n.kids[name]
	delete(n.kids, name)
	n.fs.names--
	i, _ := n.position(e.seq)
	n.order = slices.Delete(n.order, i, i+1)
	if e.node.isDir() {
		n.nlink--
	}
	n.changed()
}

// position finds the first entry with at least a sequence number.
func (n *tmpNode) position(seq int64) (int, bool) {
	return slices.BinarySearchFunc(n.order, seq, func(e *tmpEntry, seq int64) int { return int(e.seq - seq) })
}

func (n *tmpNode) changed() {
	n.mtime = now()
	n.ctime = n.mtime
}

func (n *tmpNode) Create(name string, mode uint32) (Node, error) {
	if err := n.checkNew(name); err != nil {
		return nil, err
	}
	if mode&unix.S_IFMT == 0 {
		mode |= unix.S_IFREG
	}
	kid := n.fs.newNode(mode & (unix.S_IFMT | 0o7777))
	n.add(name, kid)
	return kid, nil
}

func (n *tmpNode) Mkdir(name string, mode uint32) error {
	if err := n.checkNew(name); err != nil {
		return err
	}
	kid := n.fs.newNode(unix.S_IFDIR | mode&0o7777)
	kid.nlink = 2
	n.add(name, kid)
	return nil
}

func (n *tmpNode) Symlink(name, target string) error {
	if err := n.checkNew(name); err != nil {
		return err
	}
	kid := n.fs.newNode(unix.S_IFLNK | 0o777)
	kid.target, kid.size = target, int64(len(target))
	n.add(name, kid)
	return nil
}

func (n *tmpNode) Link(name string, target Node) error {
	if err := n.checkNew(name); err != nil {
		return err
	}
	kid, ok := target.(*tmpNode)
	switch {
	case !ok || kid.fs != n.fs:
		return unix.EXDEV
	case kid.isDir():
		return unix.EPERM
	case kid.nlink == 0 && !kid.linkable:
		return unix.ENOENT
	}
	kid.linkable = false
	kid.nlink++
	kid.ctime = now()
	n.add(name, kid)
	return nil
}

func (n *tmpNode) Unlink(name string) error {
	if !n.isDir() {
		return unix.ENOTDIR
	}
	e := n.kids[name]
	if e == nil {
		return unix.ENOENT
	}
	if e.node.isDir() {
		return unix.EISDIR
	}
	n.lose(e)
	return nil
}

// lose takes a name away for good.
func (n *tmpNode) lose(e *tmpEntry) {
	n.remove(e.name)
	if e.dentry != nil {
		e.dentry.Deleted = true
	}
	if e.node.isDir() {
		e.node.nlink = 0
	} else {
		e.node.drop()
	}
}

// drop takes a name away from a node.
func (n *tmpNode) drop() {
	n.nlink--
	n.ctime = now()
	n.forget()
}

// forget frees the content once the node has neither names nor users.
func (n *tmpNode) forget() {
	if n.nlink == 0 && n.opens == 0 && !n.isDir() {
		n.free(0, LastPage)
	}
}

func (n *tmpNode) Rmdir(name string) error {
	if !n.isDir() {
		return unix.ENOTDIR
	}
	e := n.kids[name]
	switch {
	case e == nil:
		return unix.ENOENT
	case !e.node.isDir():
		return unix.ENOTDIR
	case len(e.node.kids) > 0:
		return unix.ENOTEMPTY
	}
	n.lose(e)
	return nil
}

func (n *tmpNode) Rename(oldName string, newDir Node, newName string, flags uint) error {
	to, ok := newDir.(*tmpNode)
	if !ok || to.fs != n.fs {
		return unix.EXDEV
	}
	if !n.isDir() || !to.isDir() {
		return unix.ENOTDIR
	}
	e, old := n.kids[oldName], to.kids[newName]
	if e == nil || to.nlink == 0 {
		return unix.ENOENT
	}
	kid := e.node
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	case old == nil && exchange:
		return unix.ENOENT
	case kid.contains(to):
		return unix.EINVAL // into itself
	case old == nil:
	case flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case exchange && old.node.contains(n):
		return unix.EINVAL
	case old.node == kid:
		return nil
	case exchange:
		return n.exchange(e, to, old)
	default:
		if err := n.replaceable(kid, old.node); err != nil {
			return err
		}
		to.lose(old)
	}
	n.remove(e.name)
	to.insert(e, newName)
	e.moved(to.dentry)
	return nil
}

// replaceable says why a kid of n may not take the place of another node.
func (n *tmpNode) replaceable(kid, old *tmpNode) error {
	switch {
	case old.contains(n):
		return unix.ENOTEMPTY // whatever is to take its place
	case kid.isDir() && !old.isDir():
		return unix.ENOTDIR
	case !kid.isDir() && old.isDir():
		return unix.EISDIR
	case len(old.kids) > 0:
		return unix.ENOTEMPTY
	}
	return nil
}

func (n *tmpNode) exchange(e *tmpEntry, to *tmpNode, old *tmpEntry) error {
	oldName, newName := e.name, old.name
	n.remove(oldName)
	to.remove(newName)
	n.insert(old, oldName)
	to.insert(e, newName)
	old.moved(n.dentry)
	e.moved(to.dentry)
	return nil
}

// moved tells an entry's dentry where it is now.
func (e *tmpEntry) moved(parent *Dentry) {
	e.node.ctime = now()
	if e.dentry != nil {
		e.dentry.Parent, e.dentry.Name = parent, e.name
	}
}

// Place implements placer.
func (n *tmpNode) Place(d *Dentry, name string) *Dentry {
	n.dentry = d
	e := n.kids[name]
	if e == nil {
		return nil
	}
	if e.dentry == nil {
		e.dentry = &Dentry{Parent: d, Name: name, Node: e.node}
	}
	return e.dentry
}

// contains reports whether d is n or lies below it.
func (n *tmpNode) contains(d *tmpNode) bool {
	for ; d != n; d = d.parent {
		if d == d.parent {
			return false
		}
	}
	return true
}
