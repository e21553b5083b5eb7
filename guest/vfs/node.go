package vfs

import (
	"goskas/guest/wait"

	"golang.org/x/sys/unix"
)

// Stat is what stat(2) tells of a node.
type Stat struct {
	Dev, Ino            uint64
	Mode                uint32 // type and permissions
	Nlink               uint64
	UID, GID            uint32
	Rdev                uint64
	Size                int64
	Blksize             int64
	Blocks              int64 // of 512 bytes
	Atime, Mtime, Ctime unix.Timespec
}

// Type is the file type bits of the mode.
func (s *Stat) Type() uint32 { return s.Mode & unix.S_IFMT }

// IsDir reports whether it is a directory.
func (s *Stat) IsDir() bool { return s.Type() == unix.S_IFDIR }

// Node is a file, directory or anything else that has a name somewhere. A
// symbolic link is a node of its own; only Namespace follows it.
type Node interface {
	Stat() (Stat, error)
	// Lookup finds a name in a directory; never "." or "..".
	Lookup(name string) (Node, error)
	Readlink() (string, error)
	// Open opens the node for flags (O_ACCMODE, O_TRUNC, O_DIRECTORY, O_NONBLOCK).
	Open(flags int) (File, error)

	// Create makes a file, or what the mode's type says: S_IFIFO.
	Create(name string, mode uint32) (Node, error)
	Mkdir(name string, mode uint32) error
	Symlink(name, target string) error
	Link(name string, target Node) error
	Unlink(name string) error
	Rmdir(name string) error
	// Rename obeys RENAME_NOREPLACE and RENAME_EXCHANGE.
	Rename(oldName string, newDir Node, newName string, flags uint) error

	Chmod(mode uint32) error
	Chown(uid, gid int) error // -1: leave
	Utimes(atime, mtime unix.Timespec) error
	Truncate(size int64) error
	Statfs() (FSInfo, error)
}

// Dirent is an entry of a directory.
type Dirent struct {
	Ino  uint64
	Type uint8 // DT_*
	Name string
	Next int64 // position behind this entry
}

// File is an open node, pipe or device. Those that have positions (Seekable)
// are read and written with ReadAt and WriteAt, the others with Read and Write.
type File interface {
	Stat() (Stat, error)
	Seekable() bool
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	// Readdir returns entries from a position on, 0 being the start; none
	// at the end.
	Readdir(pos int64, max int) ([]Dirent, error)
	// Ioctl works on arg, whose size IoctlArg tells, in place.
	Ioctl(cmd uint32, arg []byte) error
	// Ready is the set of poll(2) events that hold now.
	Ready() int16
	// Queue is woken when Ready may have changed; nil if it never does.
	Queue() *wait.Queue
	Close() error
}

// What only some files can do.
type (
	// Attributed is a file whose attributes can be changed even if its name
	// is gone; others are changed through their node.
	Attributed interface {
		Chmod(mode uint32) error
		Chown(uid, gid int) error
		Utimes(atime, mtime unix.Timespec) error
	}
	// Allocator is a file that fallocate works on; mode is FALLOC_FL_*.
	Allocator interface {
		Allocate(mode uint32, off, size int64) error
	}
	// Syncer is a file that outlives the guest.
	Syncer interface{ Sync() error }
)

// FSInfo is what statfs tells of the tree that a node is in.
type FSInfo struct {
	Type                                  int64
	BlockSize                             int64
	Blocks, Free, Avail, Files, FreeFiles uint64
	Flags                                 int64 // ST_RDONLY and the like
}

// generated is the FSInfo of /proc and /dev.
func generated() (FSInfo, error) {
	return FSInfo{Type: unix.PROC_SUPER_MAGIC, BlockSize: pageSize}, nil
}

// NoNode refuses everything; nodes embed it and define what they can do. It is
// a file in a read-only tree.
type NoNode struct{}

func (NoNode) Lookup(string) (Node, error)               { return nil, unix.ENOTDIR }
func (NoNode) Readlink() (string, error)                 { return "", unix.EINVAL }
func (NoNode) Create(string, uint32) (Node, error)       { return nil, unix.EROFS }
func (NoNode) Mkdir(string, uint32) error                { return unix.EROFS }
func (NoNode) Symlink(string, string) error              { return unix.EROFS }
func (NoNode) Link(string, Node) error                   { return unix.EROFS }
func (NoNode) Unlink(string) error                       { return unix.EROFS }
func (NoNode) Rmdir(string) error                        { return unix.EROFS }
func (NoNode) Rename(string, Node, string, uint) error   { return unix.EROFS }
func (NoNode) Chmod(uint32) error                        { return unix.EROFS }
func (NoNode) Chown(int, int) error                      { return unix.EROFS }
func (NoNode) Utimes(unix.Timespec, unix.Timespec) error { return unix.EROFS }
func (NoNode) Truncate(int64) error                      { return unix.EROFS }
func (NoNode) Statfs() (FSInfo, error)                   { return generated() }

// The readiness of what never blocks: readable and writable, also by their
// other names (POLLRDNORM and POLLWRNORM, asm-generic/poll.h).
const (
	readable    = unix.POLLIN | 0x40
	writable    = unix.POLLOUT | 0x100
	alwaysReady = readable | writable
)

// NoFile refuses everything and is always ready; files embed it.
type NoFile struct{}

func (NoFile) Seekable() bool                       { return false }
func (NoFile) Read([]byte) (int, error)             { return 0, unix.EINVAL }
func (NoFile) Write([]byte) (int, error)            { return 0, unix.EINVAL }
func (NoFile) ReadAt([]byte, int64) (int, error)    { return 0, unix.ESPIPE }
func (NoFile) WriteAt([]byte, int64) (int, error)   { return 0, unix.ESPIPE }
func (NoFile) Truncate(int64) error                 { return unix.EINVAL }
func (NoFile) Readdir(int64, int) ([]Dirent, error) { return nil, unix.ENOTDIR }
func (NoFile) Ioctl(uint32, []byte) error           { return unix.ENOTTY }
func (NoFile) Ready() int16                         { return alwaysReady }
func (NoFile) Queue() *wait.Queue                   { return nil }
func (NoFile) Close() error                         { return nil }

// fionRead asks how much can be read (FIONREAD, asm-generic/ioctls.h).
const fionRead = 0x541b

// siocOutq asks how much has not been read by the peer (SIOCOUTQ,
// linux/sockios.h), or not been sent by a terminal.
const siocOutq = 0x5411

// IoctlArg tells how many bytes an ioctl reads from and writes to its argument
// (asm-generic/ioctls.h, asm-generic/termbits.h); ok is false for those that no
// file here knows.
func IoctlArg(cmd uint32) (in, out int, ok bool) {
	switch cmd {
	case unix.TCGETS:
		return 0, termiosSize, true
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		return termiosSize, 0, true
	case unix.TCGETS2:
		return 0, termios2Size, true
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		return termios2Size, 0, true
	case unix.TIOCGWINSZ:
		return 0, winsizeSize, true
	case unix.TIOCSWINSZ:
		return winsizeSize, 0, true
	case fionRead, siocOutq:
		return 0, 4, true
	}
	return 0, 0, false
}

// changes reports whether an open with these flags is for a change: O_TRUNC is,
// even without the right to write.
func changes(flags int) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}

// direntType is the DT_* form of a mode's type (dirent.h).
func direntType(mode uint32) uint8 { return uint8(mode & unix.S_IFMT >> 12) }
