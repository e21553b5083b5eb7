package vfs

import (
	"time"

	"golang.org/x/sys/unix"
)

// dynamicDev is the device number of generated trees, and tmpDev the first of
// the trees in memory: values that no host file system has.
const (
	dynamicDev = 0xfff00001
	tmpDev     = 0xfff01000
)

// Dir is a directory whose contents are computed: /proc, /dev.
type Dir struct {
	NoNode
	Ino uint64
	// Find looks a name up; ENOENT if there is none.
	Find func(name string) (Node, error)
	// List names the entries, without "." and "..".
	List func() []Dirent
}

// Entries is a Dir with fixed contents.
func Entries(ino uint64, nodes map[string]Node) *Dir {
	return &Dir{
		Ino: ino,
		Find: func(name string) (Node, error) {
			if n, ok := nodes[name]; ok {
				return n, nil
			}
			return nil, unix.ENOENT
		},
		List: func() []Dirent {
			var list []Dirent
			for name, n := range nodes {
				if st, err := n.Stat(); err == nil {
					list = append(list, Dirent{Ino: st.Ino, Type: direntType(st.Mode), Name: name})
				}
			}
			sortDirents(list)
			return list
		},
	}
}

// now is the time that generated files show.
func now() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }

func dynamicStat(ino uint64, mode uint32) Stat {
	t := now()
	return Stat{Dev: dynamicDev, Ino: ino, Mode: mode, Nlink: 1, Blksize: 4096, Atime: t, Mtime: t, Ctime: t}
}

// Stat implements Node.
func (d *Dir) Stat() (Stat, error) {
	st := dynamicStat(d.Ino, unix.S_IFDIR|0o555)
	st.Nlink = 2
	return st, nil
}

// Lookup implements Node.
func (d *Dir) Lookup(name string) (Node, error) { return d.Find(name) }

// Open implements Node.
func (d *Dir) Open(flags int) (File, error) {
	if changes(flags) {
		return nil, unix.EISDIR
	}
	return &dirFile{dir: d}, nil
}

type dirFile struct {
	NoFile
	dir  *Dir
	list []Dirent
}

func (f *dirFile) Stat() (Stat, error) { return f.dir.Stat() }
func (f *dirFile) Seekable() bool      { return true }

func (f *dirFile) ReadAt([]byte, int64) (int, error) { return 0, unix.EISDIR }

func (f *dirFile) Readdir(pos int64, limit int) ([]Dirent, error) {
	if pos == 0 || f.list == nil {
		f.list = append([]Dirent{
			{Ino: f.dir.Ino, Type: unix.DT_DIR, Name: "."},
			{Ino: f.dir.Ino, Type: unix.DT_DIR, Name: ".."},
		}, f.dir.List()...)
		for i := range f.list {
			f.list[i].Next = int64(i + 1)
		}
	}
	if pos < 0 || pos >= int64(len(f.list)) {
		return nil, nil
	}
	list := f.list[pos:]
	return list[:min(limit, len(list))], nil
}

// Text is a read-only file whose content is computed when it is opened.
type Text struct {
	NoNode
	Ino     uint64
	Mode    uint32 // permissions; 0 means 0444
	Content func() ([]byte, error)
}

// Stat implements Node.
func (t *Text) Stat() (Stat, error) {
	mode := t.Mode
	if mode == 0 {
		mode = 0o444
	}
	return dynamicStat(t.Ino, unix.S_IFREG|mode), nil
}

// Open implements Node.
func (t *Text) Open(flags int) (File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EACCES
	}
	b, err := t.Content()
	if err != nil {
		return nil, err
	}
	return &textFile{node: t, content: b}, nil
}

type textFile struct {
	NoFile
	node    *Text
	content []byte
}

func (f *textFile) Stat() (Stat, error) { return f.node.Stat() }
func (f *textFile) Seekable() bool      { return true }

func (f *textFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(f.content)) {
		return 0, nil
	}
	return copy(p, f.content[off:]), nil
}

// Link is a symbolic link whose target is computed.
type Link struct {
	NoNode
	Ino    uint64
	Target func() (string, error)
	// Jump, if it gives anything, is where the link leads, whatever is at the
	// target by now.
	Jump func() *Dentry
}

// Stat implements Node.
func (l *Link) Stat() (Stat, error) { return dynamicStat(l.Ino, unix.S_IFLNK|0o777), nil }

// Readlink implements Node.
func (l *Link) Readlink() (string, error) { return l.Target() }

// Open implements Node.
func (l *Link) Open(int) (File, error) { return nil, unix.ELOOP }
