package stubexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"goskas/arch"
	"goskas/internal/elfimage"
	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// Image is the stub's executable in a sealed memfd.
type Image struct {
	fd   int
	path string
}

// minImageFD keeps the image's descriptor clear of the numbers that a stub is
// started with.
const minImageFD = 64

// Build makes the image for a stub and its filter.
func Build(s *arch.Stub, filter []unix.SockFilter) (*Image, error) {
	low, err := sys.SealedExec("uml-userspace", ELF(s, filter))
	if err != nil {
		return nil, fmt.Errorf("build stub image: %w", err)
	}
	defer unix.Close(low)
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, minImageFD)
	if err != nil {
		return nil, fmt.Errorf("move stub image descriptor: %w", err)
	}
	return &Image{fd: fd, path: fmt.Sprintf("/proc/self/fd/%d", fd)}, nil
}

// Close releases the memfd; running stubs keep their program.
func (i *Image) Close() error { return unix.Close(i.fd) }

// ELF lays out a static executable with one R-X segment: the program, with the
// filter appended where its code expects it (the program's last 8 bytes are
// the filter's length, see arch/amd64 program).
func ELF(s *arch.Stub, filter []unix.SockFilter) []byte {
	le := binary.LittleEndian
	text := bytes.Clone(s.Program)
	le.PutUint64(text[len(text)-8:], uint64(len(filter)))
	for _, f := range filter {
		text = le.AppendUint16(text, f.Code)
		text = append(text, f.Jt, f.Jf)
		text = le.AppendUint32(text, f.K)
	}

	return elfimage.Static(elf.EM_X86_64, uint64(s.Base), elfimage.Segment{
		Addr: uint64(s.Base), Flag: elf.PF_R | elf.PF_X, Data: text, Size: uint64(len(text)),
	})
}
