package sys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FDSender sends descriptors over a UNIX socket with one byte of payload. It
// owns the message's memory, so that sending allocates nothing; it must not be
// copied.
type FDSender struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	payload [1]byte
	control [cmsgHeader + 4*maxFDs]byte
}

const (
	cmsgHeader = 16 // CMSG_LEN(0)
	maxFDs     = 4
)

// Send sends at most four descriptors. EINTR is retried: nothing was sent.
func (s *FDSender) Send(sock int, fds []int) error {
	le := binary.LittleEndian
	le.PutUint64(s.control[0:], uint64(cmsgHeader+4*len(fds)))
	le.PutUint32(s.control[8:], unix.SOL_SOCKET)
	le.PutUint32(s.control[12:], unix.SCM_RIGHTS)
	for i, fd := range fds {
		le.PutUint32(s.control[cmsgHeader+4*i:], uint32(fd))
	}
	// s is on the heap of a garbage collector that does not move objects,
	// and is kept alive by the caller for as long as the call runs.
	s.iov.Base, s.iov.Len = &s.payload[0], 1
	s.hdr.Iov, s.hdr.Iovlen = &s.iov, 1
	s.hdr.Control = &s.control[0]
	s.hdr.SetControllen((cmsgHeader + 4*len(fds) + 7) &^ 7)
	for {
		_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(sock), uintptr(unsafe.Pointer(&s.hdr)), unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
