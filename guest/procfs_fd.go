package guest

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// procFDInfo is /proc/pid/fdinfo.
func (t *Task) procFDInfo(ino uint64) vfs.Node {
	return &vfs.Dir{
		Ino: ino,
		Find: func(name string) (vfs.Node, error) {
			fd, err := strconv.Atoi(name)
			if err != nil || t.files == nil {
				return nil, unix.ENOENT
			}
			f, e := t.file(fd)
			if e != 0 {
				return nil, unix.ENOENT
			}
			return text(ino+1+uint64(fd), func() string {
				flags := f.Flags
				if on, err := t.files.CloseOnExec(fd); err == nil && on {
					flags |= unix.O_CLOEXEC
				}
				if f.Dentry != nil {
					flags |= largeFile
				}
				st, _ := f.File.Stat() // a file that cannot be asked has no number
				s := fmt.Sprintf("pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", f.Offset, flags, firstMount, st.Ino)
				if more, ok := f.File.(interface{ FDInfo() string }); ok {
					s += more.FDInfo()
				}
				return s
			}), nil
		},
		List: func() []vfs.Dirent { return t.listFDs(ino, unix.DT_REG) },
	}
}

// listFDs has an entry for each descriptor.
func (t *Task) listFDs(ino uint64, kind uint8) (list []vfs.Dirent) {
	if t.files == nil {
		return nil
	}
	for _, fd := range t.files.Open() {
		list = append(list, vfs.Dirent{Ino: ino + 1 + uint64(fd), Type: kind, Name: strconv.Itoa(fd)})
	}
	return list
}

// procFDs is /proc/pid/fd: links to where a file was opened. What has no place
// links to a name that this directory itself knows, so that opening the link
// gives the very file, as on Linux.
func (t *Task) procFDs(ino uint64) vfs.Node {
	return &vfs.Dir{
		Ino: ino,
		Find: func(name string) (vfs.Node, error) {
			if t.files == nil {
				return nil, unix.ENOENT
			}
			if fd, err := strconv.Atoi(name); err == nil {
				f, e := t.file(fd)
				if e != 0 {
					return nil, unix.ENOENT
				}
				return &vfs.Link{
					Ino:    ino + 1 + uint64(fd),
					Target: func() (string, error) { return t.fdTarget(f) },
					Jump:   func() *vfs.Dentry { return f.Dentry },
				}, nil
			}
			for _, fd := range t.files.Open() {
				f, _ := t.file(fd)
				if target, err := t.fdTarget(f); err == nil && f.Dentry == nil && target == name {
					return &aliasNode{file: f}, nil
				}
			}
			return nil, unix.ENOENT
		},
		List: func() []vfs.Dirent { return t.listFDs(ino, unix.DT_LNK) },
	}
}

// fdTarget is what the link of an open file says.
func (t *Task) fdTarget(f *vfs.OpenFile) (string, error) {
	if f.Dentry != nil {
		return t.k.ns.Show(f.Dentry), nil
	}
	if named, ok := f.File.(interface{ LinkName() string }); ok {
		return named.LinkName(), nil
	}
	st, err := f.File.Stat()
	if err != nil {
		return "", err
	}
	kind := "console"
	if st.Type() == unix.S_IFIFO {
		kind = "pipe"
	}
	return fmt.Sprintf("%s:[%d]", kind, st.Ino), nil
}

// aliasNode stands for an open file without a name.
type aliasNode struct {
	vfs.NoNode
	file *vfs.OpenFile
}

func (n *aliasNode) Stat() (vfs.Stat, error) { return n.file.File.Stat() }

func (n *aliasNode) Open(flags int) (vfs.File, error) {
	if flags&unix.O_DIRECTORY != 0 {
		return nil, unix.ENOTDIR
	}
	if _, ok := n.file.File.(*vfs.Socket); ok {
		return nil, unix.ENXIO
	}
	n.file.Ref()
	return aliasFile{n.file.File, n.file}, nil
}

// aliasFile is a second way to an open file, which it keeps open.
type aliasFile struct {
	vfs.File
	of *vfs.OpenFile
}

func (f aliasFile) Close() error { return f.of.Unref() }
