package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Message is what one send put into a socket, or what is left of it.
type Message struct {
	Data []byte
	Cred Cred
	// From is the sender's address, as Name has it.
	From   string
	files  []*OpenFile
	sender *Socket
	cost   int
}

// HasFiles says that descriptors come with the message.
func (m *Message) HasFiles() bool { return len(m.files) > 0 }

// merged is how long a message grows by later ones.
const merged = 32 << 10

// Send sends p, of which a stream takes a part if there is no room for more,
// with files, to the peer or, for datagrams, to another socket. EAGAIN means that
// one has to wait for either's queue.
func (s *Socket) Send(to *Socket, p []byte, files []*OpenFile, c Cred) (int, error) {
	stream := s.kind == unix.SOCK_STREAM
	if e := s.maySend(to); e != 0 {
		return 0, e
	}
	if !stream && len(p) > s.SndBuf-messageRoom {
		return 0, unix.EMSGSIZE
	}
	if s.unread >= s.SndBuf || !s.Peered() && to.peer != s && to.full() {
		return 0, unix.EAGAIN
	}
	if stream {
		p = p[:min(len(p), max(1, s.SndBuf-s.unread))]
	}
	if err := s.net.launch(files); err != nil {
		return 0, err
	}
	if n := len(to.recv); stream && n > 0 && len(files) == 0 {
		last := to.recv[n-1]
		if !last.HasFiles() && last.Cred == c && len(last.Data)+len(p) <= merged {
			last.Data = append(last.Data, p...)
			s.charge(last, len(p))
			to.queue.WakeFor(readable)
			return len(p), nil
		}
	}
	m := &Message{Data: slices.Clone(p), Cred: c, From: s.name, files: slices.Clone(files), sender: s}
	s.charge(m, len(p)+messageCost)
	to.recv = append(to.recv, m)
	if len(files) > 0 {
		s.net.carries(to)
	}
	to.queue.WakeFor(readable)
	return len(p), nil
}

func (s *Socket) charge(m *Message, n int) {
	m.cost += n
	s.unread += n
}

// maySend finds what is wrong with sending to a socket.
func (s *Socket) maySend(to *Socket) unix.Errno {
	if s.kind == unix.SOCK_STREAM {
		switch {
		case s.shutWr:
			return unix.EPIPE
		case to == nil || s.state != sockConnected:
			return unix.ENOTCONN
		case to.dead || to.shutRd:
			return unix.EPIPE
		}
		return 0
	}
	if e := s.TakeError(); e != 0 {
		return e
	}
	switch {
	case to == nil:
		return unix.ENOTCONN
	case s.shutWr:
		return unix.EPIPE
	case to.dead:
		if s.peer == to {
			s.peer, s.state = nil, sockClosed
			s.queue.Wake()
		}
		return unix.ECONNREFUSED
	case !to.takes(s):
		return unix.EPERM
	case to.shutRd:
		return unix.EPIPE
	}
	return 0
}

// First is the message to be read next: nil at the end of a connection.
func (s *Socket) First() (*Message, error) {
	switch {
	case s.kind == unix.SOCK_STREAM && s.state != sockConnected:
		return nil, unix.EINVAL
	case s.kind == unix.SOCK_SEQPACKET && s.state != sockConnected:
		return nil, unix.ENOTCONN
	case len(s.recv) > 0:
		return s.recv[0], nil
	case s.err != 0:
		return nil, s.TakeError()
	case s.shutRd:
		return nil, nil
	}
	return nil, unix.EAGAIN
}

// HasMessage says that there is something to be read.
func (s *Socket) HasMessage() bool { return len(s.recv) > 0 }

// After is the message behind m, nil if there is none.
func (s *Socket) After(m *Message) *Message {
	if i := slices.Index(s.recv, m); i >= 0 && i+1 < len(s.recv) {
		return s.recv[i+1]
	}
	return nil
}

// Consume takes n bytes off the first message of a stream. What is left of it,
// if anything, stays.
func (s *Socket) Consume(n int) {
	m := s.recv[0]
	if n < len(m.Data) {
		m.Data = m.Data[n:]
		m.paid(n)
		return
	}
	s.Drop()
}

// paid gives room back to the sender.
func (m *Message) paid(n int) {
	was := m.sender.roomy()
	m.cost -= n
	m.sender.unread -= n
	var events uint32
	if !was && m.sender.roomy() {
		events = writable | wrBand
	}
	m.sender.queue.WakeFor(events)
}

// Drop removes the first message. Files that nobody has taken are closed.
func (s *Socket) Drop() {
	s.drop(0)
	s.net.drain()
}

func (s *Socket) drop(i int) {
	m := s.recv[i]
	wasFull := s.full()
	s.recv = slices.Delete(s.recv, i, i+1)
	if len(s.recv) == 0 {
		s.recv = nil
	}
	m.paid(m.cost)
	s.land(m)
	if wasFull {
		s.queue.WakeFor(0) // senders that wait for room
	}
}

// TakeFiles hands the descriptors of a message of s over to the caller, with
// their references.
func (s *Socket) TakeFiles(m *Message) []*OpenFile {
	files := slices.Clone(m.files)
	for _, f := range files {
		f.Ref()
	}
	s.land(m)
	s.net.drain()
	return files
}

// Files is a copy for MSG_PEEK, with references of its own.
func (m *Message) Files() []*OpenFile {
	for _, f := range m.files {
		f.Ref()
	}
	return slices.Clone(m.files)
}

// Read and Write are for those that know no more than a File: sendfile.
func (s *Socket) Read(p []byte) (int, error) {
	m, err := s.First()
	if m == nil || err != nil {
		return 0, err
	}
	n := copy(p, m.Data)
	if s.kind == unix.SOCK_STREAM {
		s.Consume(n)
	} else {
		s.Drop()
	}
	return n, nil
}

// Write sends to the peer.
func (s *Socket) Write(p []byte) (int, error) { return s.Send(s.peer, p, nil, s.own) }
