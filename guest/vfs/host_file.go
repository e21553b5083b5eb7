package vfs

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// newHostFile puts an open descriptor of the host into a File.
func newHostFile(h *Host, fd int, st *Stat) File {
	f := &hostFile{host: h, fd: fd, key: h.key(st), dir: st.IsDir()}
	if f.dir {
		return f
	}
	return &hostRegular{hostFile: f}
}

// hostFile is an open file or directory of the host.
type hostFile struct {
	NoFile
	host    *Host
	fd      int
	key     hostKey
	dir     bool
	entries []Dirent // read once, so that positions stay good
}

func (f *hostFile) Stat() (Stat, error) { return statFD(f.fd) }
func (f *hostFile) Seekable() bool      { return true }
func (f *hostFile) Close() error        { return unix.Close(f.fd) }

func (f *hostFile) ReadAt(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, p, off)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func (f *hostFile) WriteAt([]byte, int64) (int, error) { return 0, unix.EBADF }

// The attributes of an open file, whatever has become of its name.

func (f *hostFile) Chmod(mode uint32) error {
	if !f.host.write {
		return unix.EROFS
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return hostChmod(f.fd, st.Type(), mode)
}

func (f *hostFile) Chown(uid, gid int) error {
	if !f.host.write {
		return unix.EROFS
	}
	return hostChown(f.fd, uid, gid)
}

func (f *hostFile) Utimes(atime, mtime unix.Timespec) error {
	if !f.host.write {
		return unix.EROFS
	}
	return hostUtimes(f.fd, atime, mtime)
}

func (f *hostFile) Readdir(pos int64, limit int) ([]Dirent, error) {
	if !f.dir {
		return nil, unix.ENOTDIR
	}
	if f.entries == nil || pos == 0 {
		if err := f.readAll(); err != nil {
			return nil, err
		}
	}
	if pos < 0 || pos >= int64(len(f.entries)) {
		return nil, nil
	}
	list := f.entries[pos:]
	return list[:min(limit, len(list))], nil
}

// Offsets in struct linux_dirent64 (linux/dirent.h).
const (
	direntReclen = 16
	direntDType  = 18
	direntName   = 19
)

func (f *hostFile) readAll() error {
	f.entries = nil
	if _, err := unix.Seek(f.fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(f.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			size := binary.LittleEndian.Uint16(b[direntReclen:])
			name, _, _ := strings.Cut(string(b[direntName:size]), "\x00")
			f.entries = append(f.entries, Dirent{
				Ino: binary.LittleEndian.Uint64(b), Type: b[direntDType], Name: name,
				Next: int64(len(f.entries) + 1),
			})
			b = b[size:]
		}
	}
}

// hostRegular is an open regular file. Where it can be changed, its pages in
// memory and the host's file are kept alike: a write goes to both, a read prefers
// memory, which a mapping may have changed.
type hostRegular struct {
	*hostFile
	object *hostObject // since the first mapping of this open file
}

func (f *hostRegular) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.hostFile.ReadAt(p, off)
	if o := f.memory(); o != nil && n > 0 {
		o.readAt(p[:n], off)
	}
	return n, err
}

// memory is what there is of a file that can be changed in memory, or nil.
func (f *hostRegular) memory() *hostObject {
	if !f.host.write {
		return nil
	}
	return f.host.cache.objects[f.key]
}

func (f *hostRegular) WriteAt(p []byte, off int64) (int, error) {
	if !f.host.write {
		return 0, unix.EBADF
	}
	f.growing()
	n, err := pwrite(f.fd, p, off)
	if o := f.memory(); o != nil {
		o.writeAt(p[:n], off)
	}
	return n, err
}

// growing is called before the file may grow: what a mapping has written behind its
// end, in the last page, does not become part of it.
func (f *hostRegular) growing() {
	o := f.memory()
	if o == nil {
		return
	}
	if st, err := f.Stat(); err == nil {
		o.clear(st.Size, pagesOf(st.Size)*pageSize)
	}
}

// pwrite writes all of p, if the host lets it. The error is why nothing at all
// could be written.
func pwrite(fd int, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil && done == 0:
			return 0, err
		case err != nil || n == 0:
			return done, nil
		default:
			done += n
		}
	}
	return done, nil
}

func (f *hostRegular) Truncate(size int64) error {
	if !f.host.write {
		return unix.EROFS
	}
	f.growing()
	if err := unix.Ftruncate(f.fd, size); err != nil {
		return err
	}
	f.shrunk(size)
	return nil
}

// shrunk takes what is in memory behind the end of the file away.
func (f *hostRegular) shrunk(size int64) {
	if o := f.memory(); o != nil {
		o.discard(pagesOf(size), LastPage)
		o.clear(size, pagesOf(size)*pageSize)
	}
}

// Sync brings the host's file, and its disk, up to date.
func (f *hostRegular) Sync() error {
	if !f.host.write {
		return nil
	}
	if err := f.WriteBack(0, LastPage); err != nil {
		return err
	}
	return unix.Fsync(f.fd)
}

// Allocate implements Allocator; what moves the content about is refused.
func (f *hostRegular) Allocate(mode uint32, off, size int64) error {
	const zeroes = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	switch {
	case !f.host.write:
		return unix.EBADF
	case mode&^(unix.FALLOC_FL_KEEP_SIZE|zeroes) != 0:
		return unix.EOPNOTSUPP
	}
	f.growing()
	if err := unix.Fallocate(f.fd, mode, off, size); err != nil {
		return err
	}
	if o := f.memory(); o != nil && mode&zeroes != 0 {
		o.punch(off, off+size, o.discard)
	}
	return nil
}

func (f *hostRegular) Close() error {
	err := f.hostFile.Close()
	if f.object != nil {
		f.host.cache.release(f.object)
	}
	return err
}
