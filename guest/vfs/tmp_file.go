package vfs

import (
	"math"

	"golang.org/x/sys/unix"
)

func (n *tmpNode) Open(flags int) (File, error) {
	switch n.mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFDIR:
		if changes(flags) {
			return nil, unix.EISDIR
		}
	case unix.S_IFIFO:
		return n.openPipe(flags)
	default:
		if flags&unix.O_TRUNC != 0 {
			if err := n.Truncate(0); err != nil {
				return nil, err
			}
		}
	}
	n.opens++
	return &tmpFile{node: n}, nil
}

func (n *tmpNode) Truncate(size int64) error {
	switch {
	case n.isDir():
		return unix.EISDIR
	case size < 0 || n.mode&unix.S_IFMT != unix.S_IFREG:
		return unix.EINVAL
	}
	first := (size + tmpPage - 1) / tmpPage // the first page that goes
	for i := range n.pages {
		if i >= first {
			delete(n.pages, i)
			n.fs.used -= tmpPage
		}
	}
	if p := n.pages[size/tmpPage]; p != nil && size%tmpPage != 0 {
		clear(p[size%tmpPage:])
	}
	n.size = size
	n.changed()
	return nil
}

func (n *tmpNode) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, unix.EINVAL
	}
	if off >= n.size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), n.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		chunk := p[done:]
		chunk = chunk[:min(len(chunk), int(tmpPage-at%tmpPage))]
		if page := n.pages[at/tmpPage]; page != nil {
			copy(chunk, page[at%tmpPage:])
		} else {
			clear(chunk)
		}
		done += len(chunk)
	}
	n.atime = now()
	return len(p), nil
}

func (n *tmpNode) writeAt(p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, unix.EINVAL
	case len(p) == 0:
		return 0, nil
	case off > math.MaxInt64-int64(len(p)):
		return 0, unix.EFBIG
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		page := n.pages[at/tmpPage]
		if page == nil {
			if n.fs.used+tmpPage > n.fs.limit {
				break
			}
			page = new([tmpPage]byte)
			if n.pages == nil {
				n.pages = make(map[int64]*[tmpPage]byte)
			}
			n.pages[at/tmpPage] = page
			n.fs.used += tmpPage
		}
		done += copy(page[at%tmpPage:], p[done:])
	}
	if done == 0 {
		return 0, unix.ENOSPC
	}
	n.size = max(n.size, off+int64(done))
	n.changed()
	return done, nil
}

// tmpFile is an open node of a Tmp.
type tmpFile struct {
	NoFile
	node *tmpNode
}

func (f *tmpFile) Stat() (Stat, error) { return f.node.Stat() }
func (f *tmpFile) Seekable() bool      { return true }

func (f *tmpFile) Truncate(size int64) error {
	if f.node.isDir() {
		return unix.EINVAL
	}
	return f.node.Truncate(size)
}

func (f *tmpFile) ReadAt(p []byte, off int64) (int, error) {
	if f.node.isDir() {
		return 0, unix.EISDIR
	}
	return f.node.readAt(p, off)
}

func (f *tmpFile) WriteAt(p []byte, off int64) (int, error) { return f.node.writeAt(p, off) }

func (f *tmpFile) Close() error {
	f.node.opens--
	f.node.forget()
	return nil
}

func (f *tmpFile) Readdir(pos int64, limit int) ([]Dirent, error) {
	n := f.node
	if !n.isDir() {
		return nil, unix.ENOTDIR
	}
	if n.nlink == 0 {
		return nil, unix.ENOENT // removed
	}
	var list []Dirent
	if pos == 0 {
		list = append(list, Dirent{Ino: n.ino, Type: unix.DT_DIR, Name: ".", Next: 1})
	}
	if pos <= 1 {
		list = append(list, Dirent{Ino: n.parent.ino, Type: unix.DT_DIR, Name: "..", Next: firstSeq})
	}
	i, _ := n.position(max(pos, firstSeq))
	for _, e := range n.order[i:] {
		if len(list) >= limit {
			break
		}
		list = append(list, Dirent{Ino: e.node.ino, Type: direntType(e.node.mode), Name: e.name, Next: e.seq + 1})
	}
	return list[:min(limit, len(list))], nil
}
