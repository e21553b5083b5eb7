package guest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// Files is a descriptor table with its users: forked tasks have their own,
// CLONE_FILES shares one.
type Files struct {
	*vfs.FDTable
	k    *Kernel
	refs int
}

func (k *Kernel) newFiles() *Files { return k.filesOver(vfs.NewFDTable()) }

func (k *Kernel) filesOver(table *vfs.FDTable) *Files {
	f := &Files{table, k, 1}
	// POSIX: whichever descriptor of a file a process closes, its locks go.
	table.Closed = func(o *vfs.OpenFile) { k.dropLocks(o, f) }
	return f
}

func (f *Files) ref() *Files { f.refs++; return f }

// unref closes every descriptor when the last user is gone.
func (f *Files) unref() {
	if f.refs--; f.refs == 0 {
		f.CloseAll()
	}
}

// fork is the child's table.
func (f *Files) fork() *Files { return f.k.filesOver(f.Clone()) }

// file is the open file of a descriptor.
func (t *Task) file(fd int) (*vfs.OpenFile, unix.Errno) {
	f, err := t.files.Get(fd)
	return f, errnoOf(err)
}

// install gives f a descriptor, the lowest free one, and takes over the
// reference even if it fails.
func (t *Task) install(f *vfs.OpenFile, cloexec bool) (int64, unix.Errno) {
	fd, err := t.files.Install(f, 0, cloexec)
	if err != nil {
		_ = f.Unref()
		return 0, errnoOf(err)
	}
	return int64(fd), 0
}

// keptFlags are the flags of open that mean something afterwards.
const keptFlags = unix.O_ACCMODE | unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_SYNC | settable

func newOpenFile(f vfs.File, flags int, d *vfs.Dentry) *vfs.OpenFile {
	return vfs.NewOpenFile(f, flags&keptFlags, d)
}

// DirError says why process 1 cannot start in Config.Dir.
type DirError struct {
	Dir string
	Err error
}

func (e *DirError) Error() string { return fmt.Sprintf("working directory %s: %v", e.Dir, e.Err) }
func (e *DirError) Unwrap() error { return e.Err }

// initFiles gives process 1 its place and the console as descriptors 0 to 2.
func (k *Kernel) initFiles(t *Task) error {
	dir := k.cfg.Dir
	if dir == "" {
		dir = "/"
	}
	cwd, err := k.ns.Walk(k.ns.Root(), dir, true)
	if err == nil && !isDir(cwd.Node) {
		err = unix.ENOTDIR
	}
	if err != nil {
		return &DirError{dir, err}
	}
	t.fs = &FS{ns: k.ns, cwd: cwd, umask: 0o022}
	t.files = k.newFiles()
	std, err := k.stdFiles()
	if err != nil {
		return err
	}
	for _, f := range std {
		if _, e := t.install(f, false); e != 0 {
			return e
		}
	}
	return nil
}
