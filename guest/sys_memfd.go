package guest

import (
	"errors"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
	"goskas/skas"
)

// maxMemfdName is the longest name, without "memfd:" (mm/memfd.c).
const maxMemfdName = 249

func sysMemfdCreate(t *Task, a args) (int64, unix.Errno) {
	flags := a.u32(1)
	const known = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING | unix.MFD_NOEXEC_SEAL | unix.MFD_EXEC
	if flags&^known != 0 || flags&unix.MFD_EXEC != 0 && flags&unix.MFD_NOEXEC_SEAL != 0 {
		return 0, unix.EINVAL
	}
	name, e := t.cstring(a.addr(0), maxMemfdName)
	if e == unix.ENAMETOOLONG {
		e = unix.EINVAL
	}
	if e != 0 {
		return 0, e
	}
	mode, seals := uint32(0o777), unix.F_SEAL_SEAL
	if flags&unix.MFD_ALLOW_SEALING != 0 {
		seals = 0
	}
	if flags&unix.MFD_NOEXEC_SEAL != 0 {
		mode, seals = 0o666, unix.F_SEAL_EXEC
	}
	n := t.k.shm.NewFile(mode)
	f, err := n.Open(unix.O_RDWR)
	if err != nil {
		return 0, errnoOf(err)
	}
	f.(vfs.Mappable).Object().SetSeals(seals)
	d := &vfs.Dentry{Parent: t.k.ns.Root(), Name: "memfd:" + name, Node: n, Deleted: true}
	return t.install(newOpenFile(f, unix.O_RDWR, d), flags&unix.MFD_CLOEXEC != 0)
}

// sealable is the object of a file in memory; others have no seals.
func sealable(f *vfs.OpenFile) (*vfs.Object, unix.Errno) {
	if m, ok := f.File.(vfs.Mappable); ok && vfs.InMemory(f.File) {
		return m.Object(), 0
	}
	return nil, unix.EINVAL
}

// addSeals is F_ADD_SEALS.
func (t *Task) addSeals(f *vfs.OpenFile, seals int) unix.Errno {
	o, e := sealable(f)
	const known = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE |
		unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_EXEC
	switch {
	case !f.CanWrite():
		return unix.EPERM
	case seals&^known != 0:
		return unix.EINVAL
	case e != 0:
		return e
	case o.Seals()&unix.F_SEAL_SEAL != 0:
		return unix.EPERM
	}
	if seals&unix.F_SEAL_WRITE != 0 && o.Seals()&unix.F_SEAL_WRITE == 0 {
		if e := t.k.sealWrites(o); e != 0 {
			return e
		}
	}
	if st, err := f.File.Stat(); err == nil && seals&unix.F_SEAL_EXEC != 0 && st.Mode&0o111 != 0 {
		seals |= unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_FUTURE_WRITE
	}
	o.SetSeals(o.Seals() | seals)
	return 0
}

// sealWrites makes sure that nobody can write to an object through a mapping any
// more: neither one that is there, nor one that is gone but that a stub may still
// have. Whoever sees the seal relies on what the object has then.
func (k *Kernel) sealWrites(o *vfs.Object) unix.Errno {
	busy := false
	k.eachMapping(o, func(_ *Space, v *vma) {
		busy = busy || v.shared && v.file.open.CanWrite() && v.file.object.Seals()&noWriteSeals == 0
	})
	if busy {
		return unix.EBUSY
	}
	if k.mon != nil {
		k.mon.Quiesce() // of processes that are over
	}
	for s := range k.spaces() {
		if err := s.mm.Revoke(); err != nil && !errors.Is(err, skas.ErrStubDead) {
			k.log.Warn("memory not sealed", "err", err)
			return unix.EBUSY
		}
	}
	return 0
}
