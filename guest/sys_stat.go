package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// statSize is sizeof(struct stat) of amd64 (asm/stat.h).
const statSize = 144

// statBytes is st as a struct stat.
func statBytes(st *vfs.Stat) (b [statSize]byte) {
	le.PutUint64(b[0:], st.Dev)
	le.PutUint64(b[8:], st.Ino)
	le.PutUint64(b[16:], uint64(st.Nlink))
	le.PutUint32(b[24:], st.Mode)
	le.PutUint32(b[28:], st.UID)
	le.PutUint32(b[32:], st.GID)
	le.PutUint64(b[40:], st.Rdev)
	le.PutUint64(b[48:], uint64(st.Size))
	le.PutUint64(b[56:], uint64(st.Blksize))
	le.PutUint64(b[64:], uint64(st.Blocks))
	for i, ts := range []unix.Timespec{st.Atime, st.Mtime, st.Ctime} {
		le.PutUint64(b[72+16*i:], uint64(ts.Sec))
		le.PutUint64(b[80+16*i:], uint64(ts.Nsec))
	}
	return b
}

func (t *Task) putStat(st vfs.Stat, err error, to arch.Addr) (int64, unix.Errno) {
	if err != nil {
		return 0, errnoOf(err)
	}
	b := statBytes(&st)
	return 0, t.copyOut(to, b[:])
}

func (t *Task) statAt(fd int, path arch.Addr, flags int, to arch.Addr) (int64, unix.Errno) {
	st, err := t.statFlags(fd, path, flags)
	return t.putStat(st, err, to)
}

// statFlags is the status of a name, or with AT_EMPTY_PATH of a descriptor,
// which need not have a name.
func (t *Task) statFlags(fd int, path arch.Addr, flags int) (vfs.Stat, error) {
	if flags&unix.AT_EMPTY_PATH != 0 && fd != unix.AT_FDCWD {
		name, e := t.emptyPath(path)
		if e != 0 {
			return vfs.Stat{}, e
		}
		if name == "" {
			f, e := t.file(fd)
			if e != 0 {
				return vfs.Stat{}, e
			}
			return f.File.Stat()
		}
	}
	d, e := t.lookupFlags(fd, path, flags)
	if e != 0 {
		return vfs.Stat{}, e
	}
	return d.Node.Stat()
}

// emptyPath reads a path for which a null pointer is as good as "".
func (t *Task) emptyPath(a arch.Addr) (string, unix.Errno) {
	if a == 0 {
		return "", 0
	}
	return t.path(a)
}

func sysStat(t *Task, a args) (int64, unix.Errno) { return t.statAt(cwdFD, a.addr(0), 0, a.addr(1)) }

func sysLstat(t *Task, a args) (int64, unix.Errno) {
	return t.statAt(cwdFD, a.addr(0), unix.AT_SYMLINK_NOFOLLOW, a.addr(1))
}

func sysFstat(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 {
		return 0, e
	}
	st, err := f.File.Stat()
	return t.putStat(st, err, a.addr(1))
}

func sysNewfstatat(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT) != 0 {
		return 0, unix.EINVAL
	}
	return t.statAt(a.int(0), a.addr(1), flags, a.addr(2))
}

func sysStatx(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(2)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC) != 0 ||
		a.u32(3)&unix.STATX__RESERVED != 0 {
		return 0, unix.EINVAL
	}
	st, err := t.statFlags(a.int(0), a.addr(1), flags)
	if err != nil {
		return 0, errnoOf(err)
	}
	b := statxBytes(&st)
	return 0, t.copyOut(a.addr(4), b[:])
}

// statxBytes is st as a struct statx (linux/stat.h).
func statxBytes(st *vfs.Stat) (b [256]byte) {
	le.PutUint32(b[0:], unix.STATX_BASIC_STATS)
	le.PutUint32(b[4:], uint32(st.Blksize))
	le.PutUint32(b[16:], uint32(st.Nlink))
	le.PutUint32(b[20:], st.UID)
	le.PutUint32(b[24:], st.GID)
	le.PutUint16(b[28:], uint16(st.Mode))
	le.PutUint64(b[32:], st.Ino)
	le.PutUint64(b[40:], uint64(st.Size))
	le.PutUint64(b[48:], uint64(st.Blocks))
	// Access, creation (not known), change and modification time.
	for _, ts := range []struct {
		at int
		t  unix.Timespec
	}{{64, st.Atime}, {96, st.Ctime}, {112, st.Mtime}} {
		le.PutUint64(b[ts.at:], uint64(ts.t.Sec))
		le.PutUint32(b[ts.at+8:], uint32(ts.t.Nsec))
	}
	le.PutUint32(b[128:], unix.Major(st.Rdev))
	le.PutUint32(b[132:], unix.Minor(st.Rdev))
	le.PutUint32(b[136:], unix.Major(st.Dev))
	le.PutUint32(b[140:], unix.Minor(st.Dev))
	return b
}

func sysAccess(t *Task, a args) (int64, unix.Errno) { return t.accessAt(cwdFD, a.addr(0), a.u32(1), 0) }

func sysFaccessat(t *Task, a args) (int64, unix.Errno) {
	return t.accessAt(a.int(0), a.addr(1), a.u32(2), 0)
}

func sysFaccessat2(t *Task, a args) (int64, unix.Errno) {
	return t.accessAt(a.int(0), a.addr(1), a.u32(2), a.int(3))
}

// accessAt knows only root, for whom any execute bit will do and everything
// else is allowed but writing to a read-only tree.
func (t *Task) accessAt(fd int, path arch.Addr, mode uint32, flags int) (int64, unix.Errno) {
	if mode&^7 != 0 || flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	d, e := t.lookupFlags(fd, path, flags)
	if e != 0 {
		return 0, e
	}
	st, err := d.Node.Stat()
	if err != nil {
		return 0, errnoOf(err)
	}
	kind := st.Type()
	switch {
	case mode&unix.X_OK != 0 && kind != unix.S_IFDIR && st.Mode&0o111 == 0:
		return 0, unix.EACCES
	case mode&unix.W_OK != 0 && (kind == unix.S_IFREG || kind == unix.S_IFDIR || kind == unix.S_IFLNK) && vfs.ReadOnly(d.Node):
		return 0, unix.EROFS
	}
	return 0, 0
}

func sysChmod(t *Task, a args) (int64, unix.Errno) {
	return t.chmodAt(cwdFD, a.addr(0), a.u32(1))
}

func sysFchmodat(t *Task, a args) (int64, unix.Errno) {
	return t.chmodAt(a.int(0), a.addr(1), a.u32(2))
}

func (t *Task) chmodAt(fd int, path arch.Addr, mode uint32) (int64, unix.Errno) {
	d, e := t.lookup(fd, path, true)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(d.Node.Chmod(mode & 0o7777))
}

func sysFchmodat2(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	d, e := t.lookupFlags(a.int(0), a.addr(1), flags)
	if e != 0 {
		return 0, e
	}
	if st, err := d.Node.Stat(); err == nil && st.Type() == unix.S_IFLNK {
		return 0, unix.EOPNOTSUPP
	}
	return 0, errnoOf(d.Node.Chmod(a.u32(2) & 0o7777))
}

func sysFchmod(t *Task, a args) (int64, unix.Errno) {
	n, e := t.nodeOf(a.int(0))
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(n.Chmod(a.u32(1) & 0o7777))
}

// nodeOf is the file of a descriptor, for the calls that change a file's
// attributes; pipes have none.
func (t *Task) nodeOf(fd int) (vfs.Attributed, unix.Errno) {
	f, e := t.file(fd)
	if e != 0 {
		return nil, e
	}
	if f.Flags&unix.O_PATH != 0 {
		return nil, unix.EBADF
	}
	if a, ok := f.File.(vfs.Attributed); ok {
		return a, 0
	}
	if f.Dentry == nil {
		return nil, unix.EINVAL
	}
	return f.Dentry.Node, 0
}

func sysChown(t *Task, a args) (int64, unix.Errno) {
	return t.chownAt(cwdFD, a.addr(0), a.u32(1), a.u32(2), 0)
}

func sysLchown(t *Task, a args) (int64, unix.Errno) {
	return t.chownAt(cwdFD, a.addr(0), a.u32(1), a.u32(2), unix.AT_SYMLINK_NOFOLLOW)
}

func sysFchownat(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(4)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return t.chownAt(a.int(0), a.addr(1), a.u32(2), a.u32(3), flags)
}

func (t *Task) chownAt(fd int, path arch.Addr, uid, gid uint32, flags int) (int64, unix.Errno) {
	d, e := t.lookupFlags(fd, path, flags)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(d.Node.Chown(int(int32(uid)), int(int32(gid))))
}

func sysFchown(t *Task, a args) (int64, unix.Errno) {
	n, e := t.nodeOf(a.int(0))
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(n.Chown(a.int(1), a.int(2)))
}

func sysTruncate(t *Task, a args) (int64, unix.Errno) {
	if a.i64(1) < 0 {
		return 0, unix.EINVAL
	}
	d, e := t.lookup(cwdFD, a.addr(0), true)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(d.Node.Truncate(a.i64(1)))
}

// now is the time that changed files get.
func nowTimespec() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }

func sysUtimensat(t *Task, a args) (int64, unix.Errno) {
	flags := a.int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	times := [2]unix.Timespec{nowTimespec(), nowTimespec()}
	if p := a.addr(2); p != 0 {
		var w [4]uint64
		if e := t.loadWords(p, w[:]); e != 0 {
			return 0, e
		}
		for i := range times {
			ts := unix.Timespec{Sec: int64(w[2*i]), Nsec: int64(w[2*i+1])}
			switch {
			case ts.Nsec == unix.UTIME_NOW:
				continue
			case ts.Nsec != unix.UTIME_OMIT && (ts.Nsec < 0 || ts.Nsec >= 1e9):
				return 0, unix.EINVAL
			}
			times[i] = ts
		}
	}
	if a[1] == 0 { // futimens
		n, e := t.nodeOf(a.int(0))
		if e != 0 {
			return 0, e
		}
		return 0, errnoOf(n.Utimes(times[0], times[1]))
	}
	d, e := t.lookupFlags(a.int(0), a.addr(1), flags)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(d.Node.Utimes(times[0], times[1]))
}

func sysUtimes(t *Task, a args) (int64, unix.Errno) {
	times := [2]unix.Timespec{nowTimespec(), nowTimespec()}
	if p := a.addr(1); p != 0 {
		var w [4]uint64
		if e := t.loadWords(p, w[:]); e != 0 {
			return 0, e
		}
		for i := range times {
			if w[2*i+1] >= 1e6 {
				return 0, unix.EINVAL
			}
			times[i] = unix.Timespec{Sec: int64(w[2*i]), Nsec: int64(w[2*i+1]) * 1000}
		}
	}
	return t.utimesAt(a.addr(0), times)
}

func sysUtime(t *Task, a args) (int64, unix.Errno) {
	times := [2]unix.Timespec{nowTimespec(), nowTimespec()}
	if p := a.addr(1); p != 0 {
		var w [2]uint64
		if e := t.loadWords(p, w[:]); e != 0 {
			return 0, e
		}
		times = [2]unix.Timespec{{Sec: int64(w[0])}, {Sec: int64(w[1])}}
	}
	return t.utimesAt(a.addr(0), times)
}

func (t *Task) utimesAt(path arch.Addr, times [2]unix.Timespec) (int64, unix.Errno) {
	d, e := t.lookup(cwdFD, path, true)
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(d.Node.Utimes(times[0], times[1]))
}

func sysStatfs(t *Task, a args) (int64, unix.Errno) {
	d, e := t.lookup(cwdFD, a.addr(0), true)
	if e != 0 {
		return 0, e
	}
	info, err := d.Node.Statfs()
	return t.putStatfs(info, err, a.addr(1))
}

func sysFstatfs(t *Task, a args) (int64, unix.Errno) {
	f, e := t.file(a.int(0))
	if e != 0 {
		return 0, e
	}
	// Pipes and the like are on a file system that nobody mounts.
	info, err := vfs.FSInfo{Type: unix.PIPEFS_MAGIC, BlockSize: arch.PageSize}, error(nil)
	if f.Dentry != nil {
		info, err = f.Dentry.Node.Statfs()
	}
	return t.putStatfs(info, err, a.addr(1))
}

// putStatfs writes a struct statfs (asm-generic/statfs.h): f_fsid is 0, f_namelen
// 255.
func (t *Task) putStatfs(s vfs.FSInfo, err error, to arch.Addr) (int64, unix.Errno) {
	if err != nil {
		return 0, errnoOf(err)
	}
	const valid = 0x20 // ST_VALID (linux/statfs.h)
	var b [120]byte
	for i, v := range []uint64{uint64(s.Type), uint64(s.BlockSize), s.Blocks, s.Free, s.Avail, s.Files, s.FreeFiles,
		0, 255, uint64(s.BlockSize), uint64(s.Flags) | valid} {
		le.PutUint64(b[8*i:], v)
	}
	return 0, t.copyOut(to, b[:])
}
