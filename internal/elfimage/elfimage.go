package elfimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// PageSize is the alignment of segments, in the file and in memory.
const PageSize = 4096

// Sizes of the 64-bit headers (elf.h).
const (
	headerSize  = 64
	programSize = 56
)

// Segment is a part of the address space. Addr is page-aligned; what Size has
// beyond the data is zero.
type Segment struct {
	Addr uint64
	Flag elf.ProgFlag
	Data []byte
	Size uint64
}

// Static is a 64-bit little-endian executable with the given segments, in
// ascending order. The headers are in no segment.
func Static(machine elf.Machine, entry uint64, segments ...Segment) []byte {
	le := binary.LittleEndian
	head := elf.Header64{
		Ident:     [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     entry,
		Phoff:     headerSize,
		Ehsize:    headerSize,
		Phentsize: programSize,
		Phnum:     uint16(len(segments) + 1),
		Shentsize: 64,
	}
	parts := []any{head}
	offset := pageUp(headerSize + programSize*(len(segments)+1))
	for _, s := range segments {
		parts = append(parts, elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(s.Flag),
			Off: uint64(offset), Vaddr: s.Addr, Paddr: s.Addr,
			Filesz: uint64(len(s.Data)), Memsz: s.Size, Align: PageSize,
		})
		offset += pageUp(len(s.Data))
	}
	parts = append(parts, elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16})

	var out bytes.Buffer
	// Fixed-size structs into a buffer: this cannot fail.
	for _, p := range parts {
		_ = binary.Write(&out, le, p)
	}
	for _, s := range segments {
		out.Write(make([]byte, pageUp(out.Len())-out.Len()))
		out.Write(s.Data)
	}
	return out.Bytes()
}

func pageUp(n int) int { return (n + PageSize - 1) &^ (PageSize - 1) }
