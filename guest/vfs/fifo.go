package vfs

import "golang.org/x/sys/unix"

// openPipe opens a named pipe. It never waits: PipeAlone tells who has to.
func (n *tmpNode) openPipe(flags int) (File, error) {
	reads, writes := true, true
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		writes = false
	case unix.O_WRONLY:
		reads = false
	}
	if n.pipe == nil {
		n.pipe = new(pipe)
	}
	if !reads && flags&unix.O_NONBLOCK != 0 && n.pipe.readers == 0 {
		return nil, unix.ENXIO
	}
	n.opens++
	e := n.pipe.open(reads, writes)
	e.node = n
	return e, nil
}

// closePipe is called for each end that is closed. With the last one, what is in
// the pipe is lost.
func (n *tmpNode) closePipe() {
	if n.opens--; n.opens == 0 {
		n.pipe = nil
	}
	n.forget()
}
