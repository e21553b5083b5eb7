package vfs

import (
	"crypto/rand"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a character device.
type Device struct {
	NoNode
	Ino    uint64
	Rdev   uint64
	OpenFn func(d *Device, flags int) (File, error)
	made   *tmpNode // if this is a file that mknod has made
}

// Stat implements Node.
func (d *Device) Stat() (Stat, error) {
	if d.made != nil {
		return d.made.Stat()
	}
	st := dynamicStat(d.Ino, unix.S_IFCHR|0o666)
	st.Rdev = d.Rdev
	return st, nil
}

// Open implements Node.
func (d *Device) Open(flags int) (File, error) { return d.OpenFn(d, flags) }

// Chmod, Chown, Utimes and Truncate of a device are accepted and forgotten.
func (d *Device) Chmod(uint32) error                        { return nil }
func (d *Device) Chown(int, int) error                      { return nil }
func (d *Device) Utimes(unix.Timespec, unix.Timespec) error { return nil }
func (d *Device) Truncate(int64) error                      { return nil }

// Devices are the memory devices that every guest has, by name (numbers:
// Documentation/admin-guide/devices.txt, major 1).
func Devices() map[string]Node {
	dev := func(minor uint32, f memDevice) Node {
		return &Device{Ino: uint64(minor) + 100, Rdev: unix.Mkdev(1, minor), OpenFn: func(d *Device, _ int) (File, error) {
			f.device = d
			return f, nil
		}}
	}
	zeros := func(p []byte) (int, error) { clear(p); return len(p), nil }
	random := func(p []byte) (int, error) { return rand.Read(p) }
	swallow := func(p []byte) (int, error) { return len(p), nil }
	return map[string]Node{
		"null":    dev(3, memDevice{read: func([]byte) (int, error) { return 0, nil }, write: swallow}),
		"zero":    dev(5, memDevice{read: zeros, write: swallow}),
		"full":    dev(7, memDevice{read: zeros, write: func([]byte) (int, error) { return 0, unix.ENOSPC }}),
		"random":  dev(8, memDevice{read: random, write: swallow}),
		"urandom": dev(9, memDevice{read: random, write: swallow}),
	}
}

// memDevice has no position: reading or writing anywhere is the same.
type memDevice struct {
	NoFile
	device      *Device
	read, write func([]byte) (int, error)
}

func (f memDevice) Stat() (Stat, error)                    { return f.device.Stat() }
func (f memDevice) Seekable() bool                         { return true }
func (f memDevice) SeekNowhere()                           {} // null_lseek
func (f memDevice) ReadAt(p []byte, _ int64) (int, error)  { return f.read(p) }
func (f memDevice) WriteAt(p []byte, _ int64) (int, error) { return f.write(p) }
func sortDirents(list []Dirent) {
	slices.SortFunc(list, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
}

// MakeDevice makes a file for a device in a directory. Only trees in memory have
// them: a device of the host's is not the guest's business.
func MakeDevice(dir Node, name string, mode uint32, rdev uint64) error {
	n, ok := dir.(*tmpNode)
	switch {
	case ReadOnly(dir):
		return unix.EROFS
	case !ok:
		return unix.EPERM
	}
	kid, err := n.Create(name, mode)
	if err == nil {
		kid.(*tmpNode).rdev = rdev
	}
	return err
}

// openDevice opens the device that a file is for, by its number.
func (n *tmpNode) openDevice(flags int) (File, error) {
	if n.mode&unix.S_IFMT != unix.S_IFCHR {
		return nil, unix.ENXIO
	}
	d := n.fs.devices(n.rdev)
	if d == nil {
		return nil, unix.ENXIO
	}
	made := *d
	made.made = n
	return made.Open(flags)
}
