package vfs

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

// Sizes of socket buffers (net/core/sock.c, at their defaults).
const (
	defaultSockBuf = 212992 // net.core.wmem_default
	maxSockBuf     = 212992 // net.core.wmem_max, before it is doubled
	minSndBuf      = 4608   // SOCK_MIN_SNDBUF
	minRcvBuf      = 2304   // SOCK_MIN_RCVBUF
	maxBacklog     = 4096   // net.core.somaxconn
	dgramBacklog   = 10     // net.unix.max_dgram_qlen
	// messageCost is what a message takes from a buffer beside its bytes, and
	// messageRoom what its bytes may not fill.
	messageCost = 256
	messageRoom = 32
)

// wrBand is POLLWRBAND (asm-generic/poll.h).
const wrBand = 0x200

// Cred is struct ucred: who is at the other end.
type Cred struct {
	Pid      int32
	UID, GID uint32
}

// NoCred is what SO_PEERCRED says of nobody.
var NoCred = Cred{0, ^uint32(0), ^uint32(0)}

// sockState is how far a socket is.
type sockState uint8

const (
	sockClosed sockState = iota // neither of the others (TCP_CLOSE)
	sockListening
	sockConnected
)

// Sockets are the AF_UNIX sockets of a machine.
type Sockets struct {
	lastIno  uint64
	lastName uint32
	abstract map[string]*Socket
	bound    map[Node]*Socket
	flight
}

// Socket is a socket of type SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
//
// Two connected sockets are each other's peer. A message lies in the receiver's
// queue and counts against the sender's buffer until it is read.
type Socket struct {
	NoFile
	net   *Sockets
	ino   uint64
	kind  int
	state sockState
	open  *OpenFile // its one open file; nil before accept
	peer  *Socket

	name   string // sockaddr without the family: a path with its zero, or an abstract name
	node   Node   // of the path
	dead   bool
	shutRd bool // no more is received
	shutWr bool // no more is sent
	err    unix.Errno

	own, far Cred // at listen and connect: whose it is, and the peer's
	PassCred bool
	// Limits in bytes; unread is what this socket has sent that nobody has read.
	SndBuf, RcvBuf int
	unread         int
	// How long a call waits at most; 0 is forever.
	SndTimeout, RcvTimeout time.Duration
	// Options are those that do nothing but can be read back.
	Options map[int]uint64

	recv []*Message
	// A listener's connections that nobody has accepted; they know it.
	pending  []*Socket
	backlog  int
	listener *Socket

	queue wait.Queue
}

// New makes a socket of a type.
func (n *Sockets) New(kind int) *Socket {
	n.lastIno++
	return &Socket{net: n, ino: n.lastIno, kind: kind, own: NoCred, far: NoCred,
		SndBuf: defaultSockBuf, RcvBuf: defaultSockBuf}
}

// Pair makes two sockets that are connected, both c's.
func (n *Sockets) Pair(kind int, c Cred) (a, b *Socket) {
	a, b = n.New(kind), n.New(kind)
	a.peer, b.peer = b, a
	a.state, b.state = sockConnected, sockConnected
	a.own, a.far, b.own, b.far = c, c, c, c
	return a, b
}

// Kind is the socket's type, Peered whether it has connections and no addresses
// per message.
func (s *Socket) Kind() int    { return s.kind }
func (s *Socket) Peered() bool { return s.kind != unix.SOCK_DGRAM }

// Listening, Peer and Name are what getsockopt, getpeername and getsockname ask.
func (s *Socket) Listening() bool { return s.state == sockListening }

// Peer is the socket at the other end, nil if there is none.
func (s *Socket) Peer() *Socket { return s.peer }

// Name is the socket's address without the family; "" if it has none.
func (s *Socket) Name() string { return s.name }

// PeerCred is SO_PEERCRED.
func (s *Socket) PeerCred() Cred { return s.far }

// TakeError is SO_ERROR, which clears it.
func (s *Socket) TakeError() unix.Errno {
	e := s.err
	s.err = 0
	return e
}

// SetBuf sets a limit as SO_SNDBUF or SO_RCVBUF do.
func (s *Socket) SetBuf(send bool, size uint32) {
	n := 2 * int(min(size, maxSockBuf))
	if send {
		s.SndBuf = max(n, minSndBuf)
		s.queue.WakeFor(writable)
	} else {
		s.RcvBuf = max(n, minRcvBuf)
	}
}

// SetOption keeps the value of an option.
func (s *Socket) SetOption(opt int, v uint64) {
	if s.Options == nil {
		s.Options = make(map[int]uint64)
	}
	s.Options[opt] = v
}

// Stat implements File.
func (s *Socket) Stat() (Stat, error) {
	st := dynamicStat(s.ino, unix.S_IFSOCK|0o777)
	st.Dev += 3
	return st, nil
}

// LinkName is the target of the link in /proc/pid/fd.
func (s *Socket) LinkName() string { return fmt.Sprintf("socket:[%d]", s.ino) }

// Queue implements File.
func (s *Socket) Queue() *wait.Queue { return &s.queue }

// Ready implements File (unix_poll and unix_dgram_poll in net/unix/af_unix.c).
func (s *Socket) Ready() (ev int16) {
	if s.err != 0 {
		ev |= unix.POLLERR
	}
	if s.shutRd {
		ev |= unix.POLLRDHUP | readable
	}
	if s.shutRd && s.shutWr || s.Peered() && s.state == sockClosed {
		ev |= unix.POLLHUP
	}
	if len(s.recv) > 0 || len(s.pending) > 0 {
		ev |= readable
	}
	if s.state != sockListening && s.roomy() {
		ev |= writable | wrBand
	}
	return ev
}

// roomy says that the socket counts as writable.
func (s *Socket) roomy() bool {
	if !s.Peered() && s.peer != nil && s.peer.peer != s && s.peer.full() {
		return false
	}
	return 4*s.unread <= s.SndBuf
}

// full says that a datagram socket takes no more messages from strangers.
func (s *Socket) full() bool { return len(s.recv) > dgramBacklog }

// Shutdown is shutdown(2).
func (s *Socket) Shutdown(rd, wr bool) {
	s.shutRd, s.shutWr = s.shutRd || rd, s.shutWr || wr
	if p := s.peer; p != nil && s.Peered() {
		p.shutRd, p.shutWr = p.shutRd || wr, p.shutWr || rd
		p.queue.Wake()
	}
	s.queue.Wake()
}

// Close implements File.
func (s *Socket) Close() error {
	s.dead = true
	if s.net.abstract[s.name] == s {
		delete(s.net.abstract, s.name)
	}
	if s.node != nil {
		delete(s.net.bound, s.node)
	}
	if p := s.peer; p != nil {
		if s.Peered() {
			p.shutRd, p.shutWr = true, true
			if len(s.recv) > 0 || s.listener != nil {
				p.err = unix.ECONNRESET
			}
		}
		s.peer = nil
		p.queue.Wake()
	}
	for _, e := range s.pending {
		_ = e.Close()
	}
	s.pending = nil
	for len(s.recv) > 0 {
		s.drop(len(s.recv) - 1)
	}
	s.state, s.open = sockClosed, nil
	s.queue.Wake()
	s.net.drain()
	return nil
}

// Ioctl implements File.
func (s *Socket) Ioctl(cmd uint32, arg []byte) error {
	n := 0
	switch cmd {
	case fionRead:
		switch {
		case s.state == sockListening:
			return unix.EINVAL
		case s.Peered():
			for _, m := range s.recv {
				n += len(m.Data)
			}
		case len(s.recv) > 0:
			n = len(s.recv[0].Data)
		}
	case siocOutq:
		n = s.unread
	default:
		return unix.ENOTTY
	}
	putInt(arg, n)
	return nil
}

// Bind gives a socket its name: a node of the tree, or an abstract name.
func (s *Socket) Bind(name string, node Node) error {
	n := s.net
	if node != nil {
		if n.bound == nil {
			n.bound = make(map[Node]*Socket)
		}
		n.bound[node] = s
	} else {
		if n.abstract[name] != nil {
			return unix.EADDRINUSE
		}
		if n.abstract == nil {
			n.abstract = make(map[string]*Socket)
		}
		n.abstract[name] = s
	}
	s.name, s.node = name, node
	return nil
}

// AutoBind gives a socket an abstract name that nobody has (unix_autobind).
func (s *Socket) AutoBind() error {
	const names = 1 << 20
	for range names {
		s.net.lastName++
		if s.Bind(fmt.Sprintf("\x00%05x", s.net.lastName%names), nil) == nil {
			return nil
		}
	}
	return unix.ENOSPC
}

// Find is the socket of an abstract name or, for a path, of a node.
func (n *Sockets) Find(name string, node Node) *Socket {
	if node != nil {
		return n.bound[node]
	}
	return n.abstract[name]
}

// Listen is listen(2) by c.
func (s *Socket) Listen(backlog int, c Cred) error {
	switch {
	case !s.Peered():
		return unix.EOPNOTSUPP
	case s.name == "" || s.state == sockConnected:
		return unix.EINVAL
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	s.state, s.backlog, s.own, s.far = sockListening, backlog, c, c
	s.queue.Wake() // who waits to connect
	return nil
}

// Connect connects s, which is c's; to is nil for a datagram socket that is to
// have no peer any more. EAGAIN means that the backlog is full: its queue is
// to's.
func (s *Socket) Connect(to *Socket, c Cred) error {
	if to != nil && to.kind != s.kind {
		return unix.EPROTOTYPE
	}
	if !s.Peered() {
		if to != nil && !to.takes(s) {
			return unix.EPERM
		}
		s.peer = to
		s.state = sockClosed
		if to != nil {
			s.state, s.far = sockConnected, to.own
		}
		s.queue.Wake()
		return nil
	}
	switch {
	case to.state != sockListening || to.shutRd:
		return unix.ECONNREFUSED
	case s.state == sockConnected:
		return unix.EISCONN
	case s.state == sockListening:
		return unix.EINVAL
	case len(to.pending) > to.backlog:
		return unix.EAGAIN
	}
	e := s.net.New(s.kind)
	e.name, e.PassCred = to.name, to.PassCred
	e.listener, e.peer, e.state, e.own, e.far = to, s, sockConnected, to.own, c
	s.peer, s.state, s.own, s.far = e, sockConnected, c, to.own
	to.pending = append(to.pending, e)
	to.queue.WakeFor(readable)
	s.queue.Wake()
	return nil
}

// takes says that a datagram socket accepts messages from another.
func (s *Socket) takes(from *Socket) bool { return s.peer == nil || s.peer == from }

// Accept takes the next connection of a listener.
func (s *Socket) Accept() (*Socket, error) {
	switch {
	case !s.Peered():
		return nil, unix.EOPNOTSUPP
	case s.state != sockListening:
		return nil, unix.EINVAL
	case len(s.pending) == 0 && s.shutRd:
		return nil, unix.EINVAL
	case len(s.pending) == 0:
		return nil, unix.EAGAIN
	}
	e := s.pending[0]
	s.pending = slices.Delete(s.pending, 0, 1)
	e.listener = nil
	s.queue.WakeFor(0) // who waits to connect
	return e, nil
}
