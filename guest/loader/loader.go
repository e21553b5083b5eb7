package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"goskas/arch"
)

// Limits on what a program may ask of the loader.
const (
	maxHeaders = 128
	maxInterp  = 4096
)

// Error says what is wrong with an image, in words for a person. NotELF tells
// files that are no ELF image at all, among them scripts.
type Error struct {
	NotELF bool
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func bad(format string, args ...any) error { return &Error{Reason: fmt.Sprintf(format, args...)} }

// Segment is a part of the image to be mapped. Addresses are relative to the
// load bias of a position-independent image.
type Segment struct {
	Addr     arch.Addr // of the first byte
	Offset   uint64    // in the file
	FileSize uint64
	MemSize  uint64 // the rest is zero
	Access   arch.Access
}

// Image is a checked executable.
type Image struct {
	PIE      bool // may be loaded at any page-aligned bias
	Entry    arch.Addr
	Segments []Segment // in ascending order, not overlapping
	// Start and End enclose the segments, in whole pages.
	Start, End arch.Addr
	// Header is where the program headers will be in memory, 0 if nowhere;
	// HeaderSize and HeaderCount describe them.
	Header      arch.Addr
	HeaderSize  int
	HeaderCount int
	Interp      string // the program interpreter, "" for a static image
	ExecStack   bool
}

// Target is the CPU that an image must be made for, and the end of the address
// space that it must fit into.
type Target struct {
	Machine elf.Machine
	Class   elf.Class
	Top     arch.Addr
}

const (
	ehdrSize = 64
	phdrSize = 56
)

// Parse reads and checks the headers of the executable in r, which has size
// bytes. An *Error tells what is wrong with it; any other error is r's.
func Parse(r io.ReaderAt, size int64, target Target) (*Image, error) {
	head := make([]byte, min(size, ehdrSize))
	if err := readAt(r, head, 0); err != nil {
		return nil, err
	}
	h, err := parseHeader(head, target)
	if err != nil {
		return nil, err
	}
	if h.Phoff > math.MaxInt64-maxHeaders*phdrSize || int64(h.Phoff)+int64(h.Phnum)*phdrSize > size {
		return nil, bad("truncated: the program headers lie behind the end of the file")
	}
	table := make([]byte, int(h.Phnum)*phdrSize)
	if err := readAt(r, table, int64(h.Phoff)); err != nil {
		return nil, err
	}
	img := &Image{
		PIE: elf.Type(h.Type) == elf.ET_DYN, Entry: arch.Addr(h.Entry),
		HeaderSize: phdrSize, HeaderCount: int(h.Phnum),
	}
	for ; len(table) > 0; table = table[phdrSize:] {
		var p elf.Prog64
		if err := binary.Read(bytes.NewReader(table[:phdrSize]), binary.LittleEndian, &p); err != nil {
			return nil, err
		}
		if err := img.add(r, size, &p, target.Top); err != nil {
			return nil, err
		}
	}
	if err := img.finish(h.Phoff, target.Top); err != nil {
		return nil, err
	}
	return img, nil
}

func readAt(r io.ReaderAt, p []byte, off int64) error {
	if n, err := r.ReadAt(p, off); n < len(p) {
		if err == nil || errors.Is(err, io.EOF) {
			return bad("truncated: the file ends within its headers")
		}
		return err
	}
	return nil
}

func parseHeader(b []byte, target Target) (*elf.Header64, error) {
	switch {
	case bytes.HasPrefix(b, []byte("#!")):
		return nil, &Error{NotELF: true, Reason: "it is a script"}
	case len(b) < elf.EI_NIDENT || !bytes.HasPrefix(b, []byte(elf.ELFMAG)):
		return nil, &Error{NotELF: true, Reason: "not an ELF executable, nor a script that starts with #!"}
	case elf.Class(b[elf.EI_CLASS]) != target.Class:
		return nil, bad("made for another machine: %v, not %v", elf.Class(b[elf.EI_CLASS]), target.Class)
	case elf.Data(b[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return nil, bad("made for another machine: big-endian")
	case len(b) < ehdrSize:
		return nil, bad("truncated: the file ends within its headers")
	}
	h := new(elf.Header64)
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, h); err != nil {
		return nil, err
	}
	switch typ := elf.Type(h.Type); {
	case elf.Machine(h.Machine) != target.Machine:
		return nil, bad("made for another machine: %v, not %v", elf.Machine(h.Machine), target.Machine)
	case typ != elf.ET_EXEC && typ != elf.ET_DYN:
		return nil, bad("not an executable but of type %v", typ)
	case h.Phentsize != phdrSize || h.Phnum == 0 || h.Phnum > maxHeaders:
		return nil, bad("malformed: %d program headers of %d bytes", h.Phnum, h.Phentsize)
	}
	return h, nil
}

func (img *Image) add(r io.ReaderAt, size int64, p *elf.Prog64, top arch.Addr) error {
	switch elf.ProgType(p.Type) {
	case elf.PT_GNU_STACK:
		img.ExecStack = elf.ProgFlag(p.Flags)&elf.PF_X != 0
	case elf.PT_INTERP:
		if img.Interp != "" || p.Filesz < 2 || p.Filesz > maxInterp ||
			p.Off > uint64(size) || p.Filesz > uint64(size)-p.Off {
			return bad("malformed: a bad name of the program interpreter")
		}
		b := make([]byte, p.Filesz)
		if err := readAt(r, b, int64(p.Off)); err != nil {
			return err
		}
		name, rest, _ := bytes.Cut(b, []byte{0})
		if len(name) == 0 || len(rest) != 0 || len(name) == len(b) {
			return bad("malformed: a bad name of the program interpreter")
		}
		img.Interp = string(name)
	case elf.PT_LOAD:
		return img.load(size, p, top)
	}
	return nil
}

func (img *Image) load(size int64, p *elf.Prog64, top arch.Addr) error {
	if p.Memsz == 0 {
		return nil
	}
	switch {
	case p.Filesz > p.Memsz:
		return bad("malformed: a segment is larger in the file than in memory")
	case p.Off > uint64(size) || p.Filesz > uint64(size)-p.Off:
		return bad("truncated: a segment lies behind the end of the file")
	case p.Off%arch.PageSize != p.Vaddr%arch.PageSize:
		return bad("malformed: a segment is not aligned to its place in the file")
	case p.Vaddr >= uint64(top) || p.Memsz > uint64(top)-p.Vaddr:
		return bad("malformed: a segment at %#x does not fit into guest space", p.Vaddr)
	case len(img.Segments) > 0 && arch.Addr(p.Vaddr).PageDown() < img.End:
		// Also refuses segments that share a page: their rights would
		// have to differ within it.
		return bad("malformed: segments overlap or are not in order")
	}
	s := Segment{Addr: arch.Addr(p.Vaddr), Offset: p.Off, FileSize: p.Filesz, MemSize: p.Memsz}
	for _, f := range []struct {
		flag elf.ProgFlag
		acc  arch.Access
	}{{elf.PF_R, arch.Read}, {elf.PF_W, arch.Write}, {elf.PF_X, arch.Exec}} {
		if elf.ProgFlag(p.Flags)&f.flag != 0 {
			s.Access |= f.acc
		}
	}
	end, _ := (s.Addr + arch.Addr(s.MemSize)).PageUp() // below top: no overflow
	if len(img.Segments) == 0 {
		img.Start = s.Addr.PageDown()
	}
	img.Segments = append(img.Segments, s)
	img.End = end
	return nil
}

func (img *Image) finish(phoff uint64, top arch.Addr) error {
	if len(img.Segments) == 0 {
		return bad("malformed: nothing to load")
	}
	if img.End > top {
		return bad("malformed: the image does not fit into guest space")
	}
	if img.Entry < img.Start || img.Entry >= img.End {
		return bad("malformed: the entry point %#x is outside of the image", uint64(img.Entry))
	}
	for _, s := range img.Segments {
		if phoff >= s.Offset && phoff-s.Offset < s.FileSize {
			img.Header = s.Addr + arch.Addr(phoff-s.Offset)
			break
		}
	}
	return nil
}
