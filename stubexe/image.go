package stubexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"goskas/arch"
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

const textOffset = arch.PageSize // of the program in the file

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

	head := elf.Header64{
		Ident:     [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(elf.EM_X86_64),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     uint64(s.Base),
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     2,
		Shentsize: 64,
	}
	load := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Off: textOffset, Vaddr: uint64(s.Base), Paddr: uint64(s.Base),
		Filesz: uint64(len(text)), Memsz: uint64(len(text)), Align: arch.PageSize,
	}
	stack := elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16}

	var out bytes.Buffer
	for _, part := range []any{head, load, stack} {
		// Fixed-size structs into a buffer: this cannot fail.
		_ = binary.Write(&out, le, part)
	}
	out.Write(make([]byte, textOffset-out.Len()))
	out.Write(text)
	return out.Bytes()
}
