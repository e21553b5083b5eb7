package guest

import (
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/guest/wait"
)

// msghdr is struct msghdr (linux/socket.h), with the vectors read.
type msghdr struct {
	at       arch.Addr
	name     arch.Addr
	nameSize int
	data     segments
	control  arch.Addr
	ctlSize  uint64
}

// Offsets in struct msghdr and its size, and the size of struct mmsghdr.
const (
	msgNameLen  = 8
	msgControl  = 32
	msgCtlLen   = 40
	msgFlags    = 48
	msghdrSize  = 56
	mmsghdrSize = 64
	mmsgLen     = 56
)

func (t *Task) loadMsg(at arch.Addr) (m msghdr, e unix.Errno) {
	var b [msghdrSize]byte
	if e := t.copyIn(at, b[:]); e != 0 {
		return m, e
	}
	m = msghdr{
		at: at, name: arch.Addr(le.Uint64(b[0:])), nameSize: int(int32(le.Uint32(b[msgNameLen:]))),
		control: arch.Addr(le.Uint64(b[msgControl:])), ctlSize: le.Uint64(b[msgCtlLen:]),
	}
	if m.name == 0 {
		m.nameSize = 0
	}
	if m.nameSize < 0 {
		return m, unix.EINVAL
	}
	n := le.Uint64(b[24:])
	if n > maxVectors {
		return m, unix.EMSGSIZE
	}
	m.data, e = t.vectors(arch.Addr(le.Uint64(b[16:])), int(n))
	return m, e
}

// messenger sends or receives one message.
type messenger func(*vfs.OpenFile, *vfs.Socket, *msghdr, int) (int64, unix.Errno)

func (t *Task) oneMsg(a args, do messenger) (int64, unix.Errno) {
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	m, e := t.loadMsg(a.addr(1))
	if e != 0 {
		return 0, e
	}
	return do(f, s, &m, a.int(2))
}

func sysSendmsg(t *Task, a args) (int64, unix.Errno) { return t.oneMsg(a, t.sendMsg) }

func sysSendto(t *Task, a args) (int64, unix.Errno) {
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	m := msghdr{data: t.one(a.addr(1), a[2]), name: a.addr(4)}
	if m.name != 0 {
		m.nameSize = a.int(5)
	}
	return t.sendMsg(f, s, &m, a.int(3))
}

func sysSendmmsg(t *Task, a args) (int64, unix.Errno) { return t.manyMsgs(a, t.sendMsg) }

// manyMsgs does one call after the other. Only the first waits.
func (t *Task) manyMsgs(a args, do messenger) (int64, unix.Errno) {
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	flags, n := a.int(3), min(int64(a.u32(2)), maxVectors)
	for i := range n {
		at := a.addr(1) + arch.Addr(i*mmsghdrSize)
		m, e := t.loadMsg(at)
		size := int64(0)
		if e == 0 {
			size, e = do(f, s, &m, flags)
		}
		if e == 0 {
			e = t.storeU32(at+mmsgLen, uint32(size))
		}
		if e != 0 {
			if i > 0 {
				return i, 0
			}
			return 0, e
		}
		t.call.done, t.call.timed = 0, false
		flags |= unix.MSG_DONTWAIT // from now on
	}
	return n, 0
}

// sendMsg sends to where m says, or to the peer. Progress is in t.call.done.
func (t *Task) sendMsg(f *vfs.OpenFile, s *vfs.Socket, m *msghdr, flags int) (int64, unix.Errno) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	to := s.Peer()
	if m.nameSize > 0 && s.Kind() != unix.SOCK_SEQPACKET {
		if s.Peered() {
			if to != nil {
				return 0, unix.EISCONN
			}
			return 0, unix.EOPNOTSUPP
		}
		name, auto, e := t.unixAddr(m.name, m.nameSize)
		switch {
		case e != 0:
			return 0, e
		case auto:
			return 0, unix.EINVAL
		}
		if to, e = t.findSocket(name); e != 0 {
			return 0, e
		}
		if to.Kind() != s.Kind() {
			return 0, unix.EPROTOTYPE
		}
	}
	if s.PassCred && s.Name() == "" {
		if err := s.AutoBind(); err != nil {
			return 0, errnoOf(err)
		}
	}
	files, cred, e := t.loadControl(m)
	if e != 0 {
		return 0, e
	}
	stream := s.Kind() == unix.SOCK_STREAM
	total := m.data.size()
	if !stream && total > uint64(s.SndBuf) {
		return 0, unix.EMSGSIZE
	}
	for {
		done := uint64(t.call.done)
		if stream && done == total && (done > 0 || to != nil) {
			return int64(done), 0
		}
		p := t.k.scratch[:min(total-done, scratchSize)]
		if !stream && total > scratchSize {
			p = make([]byte, total)
		}
		if done > 0 {
			files = nil // they went with the first part
		}
		n, fault := t.gather(m.data, done, p)
		if fault != nil && (n == 0 || !stream) {
			return sentSome(done, unix.EFAULT)
		}
		n, err := s.Send(to, p[:n], files, cred)
		t.call.done += int64(n)
		e := errnoOf(err)
		switch {
		case e == unix.EAGAIN && !nonblocking(f) && flags&unix.MSG_DONTWAIT == 0:
			v, e := t.blockSocket(s, s.SndTimeout, s.Queue(), to.Queue())
			if e != errBlocked && done > 0 {
				return int64(done), 0
			}
			return v, e
		case e == unix.EPIPE && stream && done == 0 && flags&unix.MSG_NOSIGNAL == 0:
			t.send(kernelSignal(int(unix.SIGPIPE)))
			return 0, e
		case e != 0:
			return sentSome(done, e)
		case !stream:
			return int64(n), 0
		}
	}
}

// sentSome is the end of a send that met an error: what went before counts.
func sentSome(done uint64, e unix.Errno) (int64, unix.Errno) {
	if done > 0 {
		return int64(done), 0
	}
	return 0, e
}

func sysRecvmsg(t *Task, a args) (int64, unix.Errno) { return t.oneMsg(a, t.recvInto) }

// recvInto receives a message and tells of it in m.
func (t *Task) recvInto(f *vfs.OpenFile, s *vfs.Socket, m *msghdr, flags int) (int64, unix.Errno) {
	v, r, e := t.recv(f, s, m.data, flags)
	if e != 0 {
		return 0, e
	}
	got, ctlSize, e := t.storeControl(s, m, &r, flags)
	if e != 0 {
		return 0, e
	}
	if m.name != 0 {
		if r.from != "" {
			e = t.storeAddr(r.from, m.name, m.at+msgNameLen)
		} else {
			e = t.storeU32(m.at+msgNameLen, 0)
		}
		if e != 0 {
			return 0, e
		}
	}
	if e := t.storeU32(m.at+msgFlags, uint32(got|r.flags)); e != 0 {
		return 0, e
	}
	return v, t.storeU64(m.at+msgCtlLen, ctlSize)
}

func sysRecvfrom(t *Task, a args) (int64, unix.Errno) {
	f, s, e := t.socket(a.int(0))
	if e != 0 {
		return 0, e
	}
	v, r, e := t.recv(f, s, t.one(a.addr(1), a[2]), a.int(3))
	if e != 0 {
		return 0, e
	}
	closeAll(r.files) // there is no place for them
	if a[4] == 0 {
		return v, 0
	}
	if r.from != "" {
		return v, t.storeAddr(r.from, a.addr(4), a.addr(5))
	}
	return v, t.storeU32(a.addr(5), 0)
}

func sysRecvmmsg(t *Task, a args) (int64, unix.Errno) {
	if e := t.loadTimeout(a.addr(4)); e != 0 {
		return 0, e
	}
	a[3] &^= unix.MSG_WAITFORONE
	return t.manyMsgs(a, t.recvInto)
}

// received is what came with the bytes.
type received struct {
	from  string
	cred  vfs.Cred
	files []*vfs.OpenFile // the caller's, references included
	flags int             // MSG_TRUNC, MSG_EOR
}

// recv receives into user memory. The progress of MSG_WAITALL is in t.call.
func (t *Task) recv(f *vfs.OpenFile, s *vfs.Socket, data segments, flags int) (int64, received, unix.Errno) {
	var r received
	if flags&unix.MSG_OOB != 0 {
		if s.Kind() == unix.SOCK_STREAM {
			return 0, r, unix.EINVAL // none is ever sent
		}
		return 0, r, unix.EOPNOTSUPP
	}
	if old, ok := t.call.data.(*received); ok {
		r = *old
		t.call.data = nil
	}
	var v int64
	var e unix.Errno
	if s.Kind() == unix.SOCK_STREAM {
		v, e = t.recvStream(s, data, flags, &r)
	} else {
		v, e = t.recvPacket(s, data, flags, &r)
	}
	if e == unix.EAGAIN && !nonblocking(f) && flags&unix.MSG_DONTWAIT == 0 {
		v, e = t.blockSocket(s, s.RcvTimeout, s.Queue())
		if e == errBlocked {
			t.call.data = &r
			return 0, received{}, e
		}
	}
	if e != 0 && t.call.done > 0 {
		v, e = t.call.done, 0
	}
	return v, r, e
}

// recvPacket receives one message.
func (t *Task) recvPacket(s *vfs.Socket, data segments, flags int, r *received) (int64, unix.Errno) {
	m, err := s.First()
	switch {
	case err != nil:
		return 0, errnoOf(err)
	case m == nil && s.Kind() == unix.SOCK_DGRAM && flags&unix.MSG_DONTWAIT != 0:
		return 0, unix.EAGAIN
	case m == nil:
		return 0, 0
	}
	n := min(uint64(len(m.Data)), data.size())
	if _, fault := t.scatter(data, 0, m.Data[:n]); fault != nil {
		s.Drop() // as in Linux
		return 0, unix.EFAULT
	}
	r.from, r.cred = m.From, m.Cred
	size := int64(n)
	if int(n) < len(m.Data) {
		r.flags |= unix.MSG_TRUNC
	}
	if flags&unix.MSG_TRUNC != 0 {
		size = int64(len(m.Data))
	}
	if flags&unix.MSG_PEEK != 0 {
		r.files = m.Files()
		return size, 0
	}
	r.files = s.TakeFiles(m)
	s.Drop()
	return size, 0
}

// recvStream receives bytes, up to the end of the first message with descriptors.
func (t *Task) recvStream(s *vfs.Socket, data segments, flags int, r *received) (int64, unix.Errno) {
	total, peek, all := data.size(), flags&unix.MSG_PEEK != 0, flags&unix.MSG_WAITALL != 0
	var last *vfs.Message // seen by MSG_PEEK
	for {
		done := uint64(t.call.done)
		if done > 0 && (done == total || !all && !s.HasMessage()) {
			return int64(done), 0
		}
		var m *vfs.Message
		var err error
		if last != nil {
			m = s.After(last)
		} else {
			m, err = s.First()
		}
		switch {
		case err != nil:
			return 0, errnoOf(err)
		case m == nil || total == 0 || done > 0 && s.PassCred && m.Cred != r.cred:
			return int64(done), 0
		}
		want := min(uint64(len(m.Data)), total-done)
		n, fault := t.scatter(data, done, m.Data[:want])
		if fault != nil && n == 0 && done == 0 {
			return 0, unix.EFAULT
		}
		t.call.done += int64(n)
		r.cred, r.from = m.Cred, m.From
		end := m.HasFiles() || fault != nil
		switch {
		case peek:
			last, r.files = m, m.Files()
		case m.HasFiles():
			r.files = s.TakeFiles(m)
			s.Consume(n)
		default:
			s.Consume(n)
		}
		if end {
			return t.call.done, 0
		}
	}
}

// blockSocket waits for a socket, at most as long as its timeout says.
func (t *Task) blockSocket(s *vfs.Socket, timeout time.Duration, queues ...*wait.Queue) (int64, unix.Errno) {
	intr := errRestartSys
	if timeout > 0 {
		t.setTimeout(timeout)
		intr = unix.EINTR
	}
	if t.expired() {
		return 0, unix.EAGAIN
	}
	return t.block(intr, queues...)
}
