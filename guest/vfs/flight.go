package vfs

import "golang.org/x/sys/unix"

// maxFlight is how many open files may lie in messages at a time.
const maxFlight = 16384

// flight keeps track of the open files that are in messages (SCM_RIGHTS).
//
// Such a file has references that no descriptor table holds. A socket whose every
// reference is in a message may be in a message that only itself, or others like
// it, could receive: nobody will ever read that, and none of them would be closed.
// So whenever a socket loses a reference and all that are left are in messages,
// collect looks for those that cannot be reached from outside any more, and
// empties their queues.
type flight struct {
	count int // of references in messages
	// carriers are sockets that have such messages.
	carriers map[*Socket]bool
	// falling are files that are to lose a reference; a list, since closing
	// one may add more, to any depth.
	falling    []*OpenFile
	draining   bool
	collecting bool
	again      bool // something became unreachable while collect ran
}

// launch adds a reference to files that go into a message.
func (n *Sockets) launch(files []*OpenFile) error {
	if n.count+len(files) > maxFlight {
		return unix.ETOOMANYREFS
	}
	n.count += len(files)
	for _, f := range files {
		f.Ref()
		f.flying++
	}
	return nil
}

// carries notes that s has messages with files.
func (n *Sockets) carries(s *Socket) {
	if n.carriers == nil {
		n.carriers = make(map[*Socket]bool)
	}
	n.carriers[s] = true
}

// land takes the files out of a message of s. Their references go with drain.
func (s *Socket) land(m *Message) {
	n := s.net
	n.count -= len(m.files)
	for _, f := range m.files {
		f.flying--
		n.falling = append(n.falling, f)
	}
	if m.files == nil {
		return
	}
	m.files = nil
	for _, other := range s.recv {
		if other.HasFiles() {
			return
		}
	}
	delete(n.carriers, s)
}

// drain drops the references of files that have landed.
func (n *Sockets) drain() {
	if n.draining {
		return
	}
	n.draining = true
	for len(n.falling) > 0 {
		last := len(n.falling) - 1
		f := n.falling[last]
		n.falling = n.falling[:last]
		_ = f.Unref() // nobody is there to be told
	}
	n.draining = false
}

// unreachable says that all references of a socket are in messages.
func (o *OpenFile) unreachable() bool { return o.flying > 0 && o.refs == o.flying }

// holder is the open file through which a socket's queue can be read: its own or,
// before accept, the listener's.
func (s *Socket) holder() *OpenFile {
	if s.listener != nil {
		return s.listener.open
	}
	return s.open
}

// collect closes files in messages that nobody can read any more.
func (n *Sockets) collect() {
	if n.collecting {
		n.again = true
		return
	}
	n.collecting = true
	for again := true; again; again = n.again {
		n.again = false
		n.sweep()
	}
	n.collecting = false
}

// sweep is one round of collect.
func (n *Sockets) sweep() {
	reached := make(map[*Socket]bool)
	var todo []*Socket
	reach := func(s *Socket) {
		if !reached[s] {
			reached[s] = true
			todo = append(todo, s)
		}
	}
	for s := range n.carriers {
		if h := s.holder(); h != nil && !h.unreachable() {
			reach(s)
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, m := range s.recv {
			for _, f := range m.files {
				if next, ok := f.File.(*Socket); ok {
					reach(next)
				}
			}
		}
		for _, e := range s.pending {
			reach(e)
		}
	}
	for s := range n.carriers {
		if reached[s] {
			continue
		}
		for _, m := range s.recv {
			s.land(m)
		}
	}
	n.drain()
}
