package guest

import (
	"strings"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
)

// Bits of a socket's type in socket, socketpair and accept4.
const sockFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC

// cred is who t is to the other end of a socket.
func (t *Task) cred() vfs.Cred { return vfs.Cred{Pid: int32(t.pid)} }

// sockKind checks the arguments that socket and socketpair have in common.
func sockKind(a args) (kind int, e unix.Errno) {
	kind = a.int(1) &^ sockFlags
	switch {
	case a.int(1) < 0 || kind&^0xf != 0:
		return 0, unix.EINVAL
	case a.int(0) != unix.AF_UNIX:
		return 0, unix.EAFNOSUPPORT // there is no network
	case a.int(2) != 0 && a.int(2) != unix.AF_UNIX:
		return 0, unix.EPROTONOSUPPORT
	}
	switch kind {
	case unix.SOCK_RAW: // as Linux has it
		return unix.SOCK_DGRAM, 0
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
		return kind, 0
	}
	return 0, unix.ESOCKTNOSUPPORT
}

func sysSocket(t *Task, a args) (int64, unix.Errno) {
	kind, e := sockKind(a)
	if e != 0 {
		return 0, e
	}
	return t.installNew(t.k.sockets.New(kind), a.int(1))
}

func sysSocketpair(t *Task, a args) (int64, unix.Errno) {
	kind, e := sockKind(a)
	if e != 0 {
		return 0, e
	}
	one, two := t.k.sockets.Pair(kind, t.cred())
	first, e := t.installNew(one, a.int(1))
	if e != 0 {
		_ = two.Close()
		return 0, e
	}
	second, e := t.installNew(two, a.int(1))
	if e == 0 {
		if e = t.storeU64(a.addr(3), uint64(first)|uint64(second)<<32); e == 0 {
			return 0, 0
		}
		_ = t.files.Close(int(second))
	}
	_ = t.files.Close(int(first))
	return 0, e
}

// socket is the socket of a descriptor.
func (t *Task) socket(fd int) (*vfs.OpenFile, *vfs.Socket, unix.Errno) {
	f, e := t.file(fd)
	if e != 0 {
		return nil, nil, e
	}
	s, ok := f.File.(*vfs.Socket)
	switch {
	case f.Flags&unix.O_PATH != 0:
		return nil, nil, unix.EBADF
	case !ok:
		return nil, nil, unix.ENOTSOCK
	}
	return f, s, 0
}

// Layout of struct sockaddr_un (linux/un.h).
const (
	sunPath    = 2
	maxSunPath = 108
	maxSockLen = 128 // struct sockaddr_storage
)

// loadAddr reads an address: what stands behind the family, a path without what
// comes after its zero but with that zero, as the kernel keeps it.
func (t *Task) loadAddr(at arch.Addr, size int) (family uint16, name string, e unix.Errno) {
	if size < 0 || size > maxSockLen {
		return 0, "", unix.EINVAL
	}
	var b [maxSockLen]byte
	if e := t.copyIn(at, b[:size]); e != 0 {
		return 0, "", e
	}
	if size < sunPath {
		return 0, "", unix.EINVAL
	}
	family = le.Uint16(b[:])
	name = string(b[sunPath:size])
	if name != "" && name[0] != 0 {
		name, _, _ = strings.Cut(name, "\x00")
		name += "\x00"
	}
	return family, name, 0
}

// unixAddr is loadAddr for a name that must be a valid one of AF_UNIX; auto says
// that there is none.
func (t *Task) unixAddr(at arch.Addr, size int) (name string, auto bool, e unix.Errno) {
	family, name, e := t.loadAddr(at, size)
	switch {
	case e != 0:
		return "", false, e
	case size > sunPath+maxSunPath || family != unix.AF_UNIX:
		return "", false, unix.EINVAL
	}
	return name, name == "", 0
}

// storeAddr writes the address of a socket with a name, as far as there is room,
// and its length where the room was told.
func (t *Task) storeAddr(name string, at, sizeAt arch.Addr) unix.Errno {
	room, e := t.loadU32(sizeAt)
	switch {
	case e != 0:
		return e
	case int32(room) < 0:
		return unix.EINVAL
	}
	var b [sunPath + maxSunPath + 1]byte
	le.PutUint16(b[:], unix.AF_UNIX)
	n := sunPath + copy(b[sunPath:], name)
	if e := t.copyOut(at, b[:min(n, int(room))]); e != 0 {
		return e
	}
	return t.storeU32(sizeAt, uint32(n))
}

func sysBind(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	name, auto, e := t.unixAddr(a.addr(1), a.int(2))
	switch {
	case e != 0:
		return 0, e
	case auto && s.Name() != "":
		return 0, 0
	case auto:
		return 0, errnoOf(s.AutoBind())
	case name[0] == 0 && s.Name() != "":
		return 0, unix.EINVAL
	case name[0] == 0:
		return 0, errnoOf(s.Bind(name, nil))
	}
	path := strings.TrimSuffix(name, "\x00")
	dir, last, slash, err := t.fs.ns.WalkParent(t.fs.cwd, path)
	switch {
	case err != nil:
		return 0, errnoOf(err)
	case last == "" || last == "." || last == "..":
		return 0, unix.EADDRINUSE
	case slash:
		return 0, unix.ENOENT
	}
	if _, err := t.fs.ns.Child(dir, last); err == nil {
		return 0, unix.EADDRINUSE
	}
	if s.Name() != "" {
		return 0, unix.EINVAL
	}
	node, err := dir.Node.Create(last, unix.S_IFSOCK|0o777&^t.fs.umask)
	if err != nil {
		return 0, errnoOf(err)
	}
	if st, err := node.Stat(); err != nil || st.Type() != unix.S_IFSOCK {
		_ = dir.Node.Unlink(last) // a tree that has no sockets
		return 0, unix.EPERM
	}
	return 0, errnoOf(s.Bind(name, node))
}

// findSocket is the socket that an address names.
func (t *Task) findSocket(name string) (*vfs.Socket, unix.Errno) {
	var s *vfs.Socket
	if name[0] == 0 {
		s = t.k.sockets.Find(name, nil)
	} else {
		d, err := t.fs.ns.Walk(t.fs.cwd, strings.TrimSuffix(name, "\x00"), true)
		if err != nil {
			return nil, errnoOf(err)
		}
		s = t.k.sockets.Find(name, d.Node)
	}
	if s == nil {
		return nil, unix.ECONNREFUSED
	}
	return s, 0
}

func sysConnect(t *Task, a args) (int64, unix.Errno) {
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	family, _, e := t.loadAddr(a.addr(1), a.int(2))
	if e != 0 {
		return 0, e
	}
	if family == unix.AF_UNSPEC && !s.Peered() {
		return 0, errnoOf(s.Connect(nil, t.cred()))
	}
	name, auto, e := t.unixAddr(a.addr(1), a.int(2))
	switch {
	case e != 0:
		return 0, e
	case auto:
		return 0, unix.EINVAL
	}
	if s.PassCred && s.Name() == "" {
		if err := s.AutoBind(); err != nil {
			return 0, errnoOf(err)
		}
	}
	to, e := t.findSocket(name)
	if e != 0 {
		return 0, e
	}
	e = errnoOf(s.Connect(to, t.cred()))
	if e == unix.EAGAIN && !nonblocking(f) {
		return t.block(errRestartSys, to.Queue())
	}
	return 0, e
}

func sysListen(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	return 0, errnoOf(s.Listen(a.int(1), t.cred()))
}

func sysAccept(t *Task, a args) (int64, unix.Errno) { return sysAccept4(t, args{a[0], a[1], a[2], 0}) }

func sysAccept4(t *Task, a args) (int64, unix.Errno) {
	if a.int(3)&^sockFlags != 0 {
		return 0, unix.EINVAL
	}
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	conn, err := s.Accept()
	if err == unix.EAGAIN && !nonblocking(f) {
		return t.block(errRestartSys, s.Queue())
	}
	if err != nil {
		return 0, errnoOf(err)
	}
	fd, e := t.installNew(conn, a.int(3))
	if e == 0 && a[1] != 0 {
		if e = t.storeAddr(conn.Peer().Name(), a.addr(1), a.addr(2)); e != 0 {
			_ = t.files.Close(int(fd))
		}
	}
	return fd, e
}

func sysShutdown(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	how := a.int(1)
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return 0, unix.EINVAL
	}
	s.Shutdown(how != unix.SHUT_WR, how != unix.SHUT_RD)
	return 0, 0
}

func sysGetsockname(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	return 0, t.storeAddr(s.Name(), a.addr(1), a.addr(2))
}

func sysGetpeername(t *Task, a args) (int64, unix.Errno) {
	_, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	if s.Peer() == nil {
		return 0, unix.ENOTCONN
	}
	return 0, t.storeAddr(s.Peer().Name(), a.addr(1), a.addr(2))
}
