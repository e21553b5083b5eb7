package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Tmp is a tree in memory.
type Tmp struct {
	dev     uint64
	limit   int64 // bytes of file content
	used    int64
	names   int64 // entries of all directories
	nextIno uint64
	root    *tmpNode
}

// NewTmp makes an empty tree that holds at most limit bytes. id tells it from
// other trees in its device number.
func NewTmp(id uint64, limit int64) *Tmp {
	t := &Tmp{dev: tmpDev + id, limit: limit}
	t.root = t.newNode(unix.S_IFDIR | 0o1777)
	t.root.nlink, t.root.parent = 2, t.root
	return t
}

// minNames is how many names even the smallest tree may have.
const minNames = 1024

// full says that there may be no more names: one for every page that the tree
// could hold (as Linux's tmpfs has inodes), since each costs memory, too.
func (t *Tmp) full() bool { return t.names >= max(minNames, t.limit/tmpPage) }

// Root is the tree's root directory.
func (t *Tmp) Root() Node { return t.root }

// Used and Limit are in bytes.
func (t *Tmp) Used() int64 { return t.used }

// Limit is what NewTmp was given.
func (t *Tmp) Limit() int64 { return t.limit }

const tmpPage = 4096

// tmpNode is a file, directory, symbolic link or named pipe.
type tmpNode struct {
	NoNode
	fs    *Tmp
	ino   uint64
	mode  uint32
	nlink uint64
	uid   uint32
	gid   uint32
	opens int

	atime, mtime, ctime unix.Timespec

	size  int64
	pages map[int64]*[tmpPage]byte // a missing page is a hole

	target string // symbolic link
	pipe   *pipe  // named pipe, while it is open

	// A directory's entries by name, and in order of creation with a number
	// that never comes again, so that positions survive removals.
	parent  *tmpNode
	kids    map[string]*tmpEntry
	order   []*tmpEntry
	nextSeq int64
}

type tmpEntry struct {
	name string
	node *tmpNode
	seq  int64
}

func (t *Tmp) newNode(mode uint32) *tmpNode {
	t.nextIno++
	n := &tmpNode{fs: t, ino: t.nextIno, mode: mode, nlink: 1, nextSeq: firstSeq}
	n.atime = now()
	n.mtime, n.ctime = n.atime, n.atime
	if n.isDir() {
		n.kids = make(map[string]*tmpEntry)
	}
	return n
}

// firstSeq leaves the positions 0 and 1 to "." and "..".
const firstSeq = 2

func (n *tmpNode) isDir() bool { return n.mode&unix.S_IFMT == unix.S_IFDIR }

func (n *tmpNode) Stat() (Stat, error) {
	st := Stat{
		Dev: n.fs.dev, Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid,
		Size: n.size, Blksize: tmpPage, Blocks: int64(len(n.pages)) * (tmpPage / 512),
		Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime,
	}
	if n.isDir() {
		st.Size = int64(len(n.kids)+2) * 20
	}
	return st, nil
}

func (n *tmpNode) Lookup(name string) (Node, error) {
	if !n.isDir() {
		return nil, unix.ENOTDIR
	}
	if e := n.kids[name]; e != nil {
		return e.node, nil
	}
	return nil, unix.ENOENT
}

func (n *tmpNode) Readlink() (string, error) {
	if n.mode&unix.S_IFMT != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	return n.target, nil
}

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
	e := &tmpEntry{name: name, node: kid, seq: n.nextSeq}
	n.nextSeq++
	n.kids[name] = e
	n.order = append(n.order, e)
	n.fs.names++
	if kid.isDir() {
		kid.parent = n
		n.nlink++
	}
	n.changed()
}

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
	case kid.nlink == 0:
		return unix.ENOENT
	}
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
	n.remove(name)
	e.node.drop()
	return nil
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
		n.fs.used -= int64(len(n.pages)) * tmpPage
		n.pages = nil
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
	n.remove(name)
	e.node.nlink = 0
	return nil
}

func (n *tmpNode) Rename(oldName string, newDir Node, newName string) error {
	to, ok := newDir.(*tmpNode)
	if !ok || to.fs != n.fs {
		return unix.EXDEV
	}
	if !n.isDir() || !to.isDir() {
		return unix.ENOTDIR
	}
	e := n.kids[oldName]
	if e == nil || to.nlink == 0 {
		return unix.ENOENT
	}
	kid := e.node
	if kid.contains(to) {
		return unix.EINVAL // into itself
	}
	if old := to.kids[newName]; old != nil {
		switch {
		case old.node == kid:
			return nil
		case old.node.contains(n):
			return unix.ENOTEMPTY // whatever is to take its place
		case kid.isDir() && !old.node.isDir():
			return unix.ENOTDIR
		case !kid.isDir() && old.node.isDir():
			return unix.EISDIR
		case len(old.node.kids) > 0:
			return unix.ENOTEMPTY
		}
		to.remove(newName)
		if old.node.isDir() {
			old.node.nlink = 0
		} else {
			old.node.drop()
		}
	}
	n.remove(oldName)
	to.add(newName, kid)
	kid.ctime = now()
	return nil
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

func (n *tmpNode) Chmod(mode uint32) error {
	n.mode = n.mode&unix.S_IFMT | mode&0o7777
	n.ctime = now()
	return nil
}

func (n *tmpNode) Chown(uid, gid int) error {
	if uid != -1 {
		n.uid = uint32(uid)
	}
	if gid != -1 {
		n.gid = uint32(gid)
	}
	n.ctime = now()
	return nil
}

func (n *tmpNode) Utimes(atime, mtime unix.Timespec) error {
	if atime.Nsec != unix.UTIME_OMIT {
		n.atime = atime
	}
	if mtime.Nsec != unix.UTIME_OMIT {
		n.mtime = mtime
	}
	n.ctime = now()
	return nil
}
