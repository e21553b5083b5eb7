package vfs

import "golang.org/x/sys/unix"

// Tmp is a tree in memory.
type Tmp struct {
	mem     Memory
	dev     uint64
	limit   int64 // bytes of file content
	used    int64
	names   int64 // entries of all directories
	nextIno uint64
	root    *tmpNode
	devices func(rdev uint64) *Device
}

// NewTmp makes an empty tree that holds at most limit bytes, in frames of mem. id
// tells it from other trees in its device number. devices finds the character device
// that a file made by mknod is for, nil if there is none.
func NewTmp(id uint64, limit int64, mem Memory, devices func(rdev uint64) *Device) *Tmp {
	t := &Tmp{mem: mem, dev: tmpDev + id, limit: limit, devices: devices}
	t.root = t.newNode(unix.S_IFDIR | 0o1777)
	t.root.nlink, t.root.parent = 2, t.root
	return t
}

// minNames is how many names even the smallest tree may have.
const minNames = 1024

// full says that there may be no more names: one for every page that the tree
// could hold (as Linux's tmpfs has inodes), since each costs memory, too.
func (t *Tmp) full() bool { return t.names >= max(minNames, t.limit/pageSize) }

// Root is the tree's root directory.
func (t *Tmp) Root() Node { return t.root }

// Used is in bytes.
func (t *Tmp) Used() int64 { return t.used }

func (n *tmpNode) Statfs() (FSInfo, error) {
	t := n.fs
	names := max(minNames, t.limit/pageSize)
	free := uint64(t.limit-t.used) / pageSize
	return FSInfo{
		Type: unix.TMPFS_MAGIC, BlockSize: pageSize,
		Blocks: uint64(t.limit) / pageSize, Free: free, Avail: free,
		Files: uint64(names), FreeFiles: uint64(max(0, names-t.names)),
	}, nil
}

// IsTmp reports whether a node is in memory.
func IsTmp(n Node) bool {
	_, ok := n.(*tmpNode)
	return ok
}

// NewFile makes a regular file without a name: for memfd_create and shared memory.
// It is gone when nobody has it open any more.
func (t *Tmp) NewFile(mode uint32) Node {
	n := t.newNode(unix.S_IFREG | mode&0o7777)
	n.nlink = 0
	return n
}

// NewUnnamed makes a regular file without a name in the tree that a directory is
// in. If it is linkable, Link can give it one.
func NewUnnamed(dir Node, mode uint32, linkable bool) (Node, error) {
	d, ok := dir.(*tmpNode)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	n := d.fs.newNode(unix.S_IFREG | mode)
	n.nlink, n.linkable = 0, linkable
	return n, nil
}

// Close gives all frames back, of whatever is still there.
func (t *Tmp) Close() { t.root.close() }

func (n *tmpNode) close() {
	n.free(0, LastPage)
	for _, e := range n.kids {
		e.node.close()
	}
}

// tmpNode is a file, directory, symbolic link, named pipe or device.
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

	size    int64
	content Object // of a regular file; a missing page is a hole
	// linkable: a file that never had a name may get one (O_TMPFILE).
	linkable bool

	target string // symbolic link
	pipe   *pipe  // named pipe, while it is open
	rdev   uint64 // device

	// A directory's entries by name, and in order of creation with a number
	// that never comes again, so that positions survive removals. dentry is
	// where the directory is, as soon as anybody has looked into it.
	parent  *tmpNode
	dentry  *Dentry
	kids    map[string]*tmpEntry
	order   []*tmpEntry
	nextSeq int64
}

// tmpEntry is a name. Its dentry, made when somebody asks, goes with it when it
// is renamed.
type tmpEntry struct {
	name   string
	node   *tmpNode
	seq    int64
	dentry *Dentry
}

func (t *Tmp) newNode(mode uint32) *tmpNode {
	t.nextIno++
	n := &tmpNode{fs: t, ino: t.nextIno, mode: mode, nlink: 1, nextSeq: firstSeq}
	n.content.mem, n.content.seals = t.mem, unix.F_SEAL_SEAL
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
		Dev: n.fs.dev, Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid, Rdev: n.rdev,
		Size: n.size, Blksize: pageSize, Blocks: int64(len(n.content.pages)) * (pageSize / 512),
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

func (n *tmpNode) Chmod(mode uint32) error {
	if n.content.seals&unix.F_SEAL_EXEC != 0 && (mode^n.mode)&0o111 != 0 {
		return unix.EPERM
	}
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
