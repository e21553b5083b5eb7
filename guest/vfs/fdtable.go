package vfs

import (
	"golang.org/x/sys/unix"
)

// OpenFile is an open file description: what dup and fork share.
type OpenFile struct {
	File  File
	Flags int // access mode and the O_* that F_SETFL can change
	// Dentry is where it was opened; nil for what has no name.
	Dentry *Dentry
	Offset int64
	// AtEnd, if there is one, is called when nobody has the file open any
	// more, before it is closed.
	AtEnd func()
	refs  int
	// watches are the items of epoll descriptors that watch it.
	watches []*epollItem
	flying  int // how many of refs are in messages (flight.go)
}

// NewOpenFile makes a description with one reference, owned by the caller.
func NewOpenFile(f File, flags int, d *Dentry) *OpenFile {
	o := &OpenFile{File: f, Flags: flags, Dentry: d, refs: 1}
	if s, ok := f.(*Socket); ok {
		s.open = o
	}
	return o
}

// Ref adds a reference.
func (o *OpenFile) Ref() *OpenFile { o.refs++; return o }

// Unref drops a reference and closes the file with the last one.
func (o *OpenFile) Unref() error {
	if o.refs--; o.refs == 0 {
		o.unwatch()
		if o.AtEnd != nil {
			o.AtEnd()
		}
		return o.File.Close()
	}
	if o.unreachable() {
		if s, ok := o.File.(*Socket); ok {
			s.net.collect()
		}
	}
	return nil
}

// CanRead and CanWrite look at the access mode.
func (o *OpenFile) CanRead() bool {
	return o.Flags&unix.O_PATH == 0 && o.Flags&unix.O_ACCMODE != unix.O_WRONLY
}

// CanWrite reports whether it was opened for writing.
func (o *OpenFile) CanWrite() bool {
	return o.Flags&unix.O_PATH == 0 && o.Flags&unix.O_ACCMODE != unix.O_RDONLY
}

// Read reads at the offset and moves it.
func (o *OpenFile) Read(p []byte) (int, error) {
	if !o.CanRead() {
		return 0, unix.EBADF
	}
	if !o.File.Seekable() {
		return o.File.Read(p)
	}
	n, err := o.File.ReadAt(p, o.Offset)
	o.Offset += int64(n)
	return n, err
}

// Write writes at the offset, or at the end under O_APPEND, and moves it.
func (o *OpenFile) Write(p []byte) (int, error) {
	if !o.CanWrite() {
		return 0, unix.EBADF
	}
	if !o.File.Seekable() {
		return o.File.Write(p)
	}
	if o.Flags&unix.O_APPEND != 0 {
		st, err := o.File.Stat()
		if err != nil {
			return 0, err
		}
		o.Offset = st.Size
	}
	n, err := o.File.WriteAt(p, o.Offset)
	o.Offset += int64(n)
	return n, err
}

// Seek is lseek.
func (o *OpenFile) Seek(off int64, whence int) (int64, error) {
	if whence < unix.SEEK_SET || whence > unix.SEEK_HOLE {
		return 0, unix.EINVAL // whatever the file
	}
	if _, ok := o.File.(interface{ SeekNowhere() }); ok {
		return 0, nil
	}
	if !o.File.Seekable() {
		return 0, unix.ESPIPE
	}
	base := int64(0)
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		base = o.Offset
	case unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE:
		st, err := o.File.Stat()
		if err != nil {
			return 0, err
		}
		if whence != unix.SEEK_END {
			// No file here tells its holes: all of it is data.
			if off < 0 || off >= st.Size {
				return 0, unix.ENXIO
			}
			if whence == unix.SEEK_HOLE {
				off = st.Size
			}
			break
		}
		base = st.Size
	}
	to := base + off
	if to < 0 || off > 0 && to < base {
		return 0, unix.EINVAL
	}
	o.Offset = to
	return to, nil
}

// FD is one descriptor.
type FD struct {
	*OpenFile
	CloseOnExec bool
}

// DefaultFDLimit is the number of descriptors a table may have at first.
const DefaultFDLimit = 1024

// FDTable is a process's descriptors.
type FDTable struct {
	// Closed, if there is one, is told of each descriptor that goes.
	Closed func(*OpenFile)
	fds    []FD
	limit  int
}

// NewFDTable makes an empty table.
func NewFDTable() *FDTable { return &FDTable{limit: DefaultFDLimit} }

// SetLimit sets the number that no new descriptor reaches (RLIMIT_NOFILE).
func (t *FDTable) SetLimit(n int) { t.limit = n }

// Get finds a descriptor's open file.
func (t *FDTable) Get(fd int) (*OpenFile, error) {
	if fd < 0 || fd >= len(t.fds) || t.fds[fd].OpenFile == nil {
		return nil, unix.EBADF
	}
	return t.fds[fd].OpenFile, nil
}

// Install puts o at the lowest free descriptor from low on, at least 0, and
// takes over the caller's reference, unless it fails.
func (t *FDTable) Install(o *OpenFile, low int, cloexec bool) (int, error) {
	fd := low
	for fd < len(t.fds) && t.fds[fd].OpenFile != nil {
		fd++
	}
	if fd >= t.limit {
		return -1, unix.EMFILE
	}
	t.put(fd, FD{o, cloexec})
	return fd, nil
}

func (t *FDTable) put(fd int, d FD) {
	for len(t.fds) <= fd {
		t.fds = append(t.fds, FD{})
	}
	t.fds[fd] = d
}

// Dup is fcntl's F_DUPFD.
func (t *FDTable) Dup(fd, low int, cloexec bool) (int, error) {
	o, err := t.Get(fd)
	if err != nil {
		return -1, err
	}
	if low < 0 || low >= t.limit {
		return -1, unix.EINVAL
	}
	n, err := t.Install(o.Ref(), low, cloexec)
	if err != nil {
		o.refs--
	}
	return n, err
}

// DupTo is dup2 and dup3 for different descriptors: what to was is closed.
func (t *FDTable) DupTo(fd, to int, cloexec bool) error {
	o, err := t.Get(fd)
	if err != nil {
		return err
	}
	if to < 0 || to >= t.limit {
		return unix.EBADF
	}
	o.Ref()
	_ = t.Close(to) // errors of the old file are lost, as in Linux
	t.put(to, FD{o, cloexec})
	return nil
}

// Close takes a descriptor away.
func (t *FDTable) Close(fd int) error {
	o, err := t.Get(fd)
	if err != nil {
		return err
	}
	t.fds[fd] = FD{}
	for n := len(t.fds); n > 0 && t.fds[n-1].OpenFile == nil; n-- {
		t.fds = t.fds[:n-1]
	}
	if t.Closed != nil {
		t.Closed(o)
	}
	return o.Unref()
}

// CloseOnExec and SetCloseOnExec are the descriptor's flag.
func (t *FDTable) CloseOnExec(fd int) (bool, error) {
	if _, err := t.Get(fd); err != nil {
		return false, err
	}
	return t.fds[fd].CloseOnExec, nil
}

// SetCloseOnExec sets the flag.
func (t *FDTable) SetCloseOnExec(fd int, on bool) error {
	if _, err := t.Get(fd); err != nil {
		return err
	}
	t.fds[fd].CloseOnExec = on
	return nil
}

// Clone copies the table, as fork does.
func (t *FDTable) Clone() *FDTable {
	c := &FDTable{fds: make([]FD, len(t.fds)), limit: t.limit}
	copy(c.fds, t.fds)
	for _, d := range c.fds {
		if d.OpenFile != nil {
			d.Ref()
		}
	}
	return c
}

// CloseExec closes the descriptors that exec does not keep.
func (t *FDTable) CloseExec() {
	for fd := len(t.fds) - 1; fd >= 0; fd-- {
		if fd < len(t.fds) && t.fds[fd].CloseOnExec {
			_ = t.Close(fd)
		}
	}
}

// CloseAll closes everything.
func (t *FDTable) CloseAll() {
	for fd := len(t.fds) - 1; fd >= 0; fd-- {
		_ = t.Close(fd)
	}
}

// Open lists the descriptors in use.
func (t *FDTable) Open() []int {
	var list []int
	for fd := range t.fds {
		if t.fds[fd].OpenFile != nil {
			list = append(list, fd)
		}
	}
	return list
}
