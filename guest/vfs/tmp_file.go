package vfs

import (
	"math"

	"goskas/physmem"

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
	case unix.S_IFCHR, unix.S_IFBLK:
		return n.openDevice(flags)
	case unix.S_IFSOCK:
		return nil, unix.ENXIO
	default:
		if flags&unix.O_TRUNC != 0 {
			if err := n.Truncate(0); err != nil {
				return nil, err
			}
		}
	}
	n.opens++
	f := &tmpFile{node: n}
	if n.isDir() {
		return f, nil
	}
	return &tmpRegular{f}, nil
}

func (n *tmpNode) Truncate(size int64) error {
	switch {
	case n.isDir():
		return unix.EISDIR
	case size < 0 || n.mode&unix.S_IFMT != unix.S_IFREG:
		return unix.EINVAL
	case size < n.size && n.content.seals&unix.F_SEAL_SHRINK != 0, size > n.size && n.content.seals&unix.F_SEAL_GROW != 0:
		return unix.EPERM
	}
	n.cut(size)
	n.changed()
	return nil
}

// cut makes the file end at size.
func (n *tmpNode) cut(size int64) {
	if size < n.size {
		n.size = size
		n.free(pagesOf(size), LastPage)
		n.content.clear(size, pagesOf(size)*pageSize)
	}
	n.size = size
}

// free gives up the pages [from, to).
func (n *tmpNode) free(from, to int64) {
	n.fs.used -= int64(n.content.drop(from, to)) * pageSize
}

// page is the frame of a page that is there, or made now.
func (n *tmpNode) page(i int64) (physmem.PFN, error) {
	if pfn, ok := n.content.pages[i]; ok {
		return pfn, nil
	}
	if n.fs.used+pageSize > n.fs.limit {
		return 0, unix.ENOSPC
	}
	pfn, err := n.fs.mem.Alloc()
	if err != nil {
		return 0, err
	}
	n.content.put(i, pfn)
	n.fs.used += pageSize
	return pfn, nil
}

// Allocate implements Allocator with the modes that Linux's tmpfs has.
func (f *tmpRegular) Allocate(mode uint32, off, size int64) error {
	n, end := f.node, off+size
	switch {
	case mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE) != 0:
		return unix.EOPNOTSUPP
	case mode&unix.FALLOC_FL_PUNCH_HOLE != 0:
		if n.content.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			return unix.EPERM
		}
		n.content.punch(off, end, n.free)
		n.changed()
		return nil
	case mode&unix.FALLOC_FL_KEEP_SIZE == 0 && end > n.size && n.content.seals&unix.F_SEAL_GROW != 0:
		return unix.EPERM
	}
	if size > n.fs.limit {
		return unix.ENOSPC
	}
	var made []int64
	for i := off / pageSize; i < pagesOf(end); i++ {
		if n.content.Has(i) {
			continue
		}
		if _, err := n.page(i); err != nil {
			for _, i := range made { // all or nothing
				n.free(i, i+1)
			}
			return memErrno(err)
		}
		made = append(made, i)
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		n.size = max(n.size, end)
	}
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
	n.content.each(p, off, func(chunk, page []byte) {
		if page == nil {
			clear(chunk) // a hole
			return
		}
		copy(chunk, page)
	})
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
	case n.content.seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0:
		return 0, unix.EPERM
	case n.content.seals&unix.F_SEAL_GROW != 0 && off+int64(len(p)) > n.size:
		if off >= n.size {
			return 0, unix.EPERM
		}
		p = p[:n.size-off]
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		pfn, err := n.page(at / pageSize)
		if err != nil {
			if done == 0 {
				return 0, memErrno(err)
			}
			break
		}
		done += copy(n.fs.mem.Bytes(pfn)[at%pageSize:], p[done:])
	}
	n.size = max(n.size, off+int64(done))
	n.changed()
	return done, nil
}

// memErrno is what a guest is told for an error of Memory.
func memErrno(err error) unix.Errno {
	if e, ok := err.(unix.Errno); ok {
		return e
	}
	return unix.ENOMEM
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

// tmpRegular is an open regular file, which can be mapped. The frames of a
// mapping are the file.
type tmpRegular struct{ *tmpFile }

func (f *tmpRegular) Object() *Object { return &f.node.content }

// Pages implements Mappable.
func (f *tmpRegular) Pages() int64 { return pagesOf(f.node.size) }

// Page implements Mappable. A hole becomes a page of zeros, as in Linux.
func (f *tmpRegular) Page(i int64) (physmem.PFN, error) {
	n := f.node
	if i >= pagesOf(n.size) {
		return 0, errBehind
	}
	pfn, err := n.page(i)
	if err == nil {
		n.fs.mem.Ref(pfn)
	}
	return pfn, err
}

// Fill implements Mappable.
func (f *tmpRegular) Fill(i int64, frame []byte) error {
	if i >= pagesOf(f.node.size) {
		return errBehind
	}
	copy(frame, f.node.content.bytes(i))
	return nil
}

// ReadAhead implements Mappable: there is nowhere to read from.
func (f *tmpRegular) ReadAhead(int64, int) (physmem.PFN, int) { return 0, 0 }

// Dirtied and WriteBack implement Mappable: there is no other file to keep up to
// date, but its time.
func (f *tmpRegular) Dirtied(int64)                { f.node.changed() }
func (f *tmpRegular) WriteBack(int64, int64) error { return nil }
