package loader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"goskas/arch"

	"github.com/google/go-cmp/cmp"
)

var target = Target{Machine: elf.EM_X86_64, Class: elf.ELFCLASS64, Top: 0x7fffffffc000}

// image builds a file: a header, program headers and padding up to size.
func image(size int, change func(*elf.Header64, []elf.Prog64)) []byte {
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64),
		Version: 1, Entry: 0x401000, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 3,
	}
	p := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: 4, Off: 0, Vaddr: 0x400000, Filesz: 0x200, Memsz: 0x200, Align: 4096},
		{Type: uint32(elf.PT_LOAD), Flags: 5, Off: 0x1000, Vaddr: 0x401000, Filesz: 0x100, Memsz: 0x100, Align: 4096},
		{Type: uint32(elf.PT_LOAD), Flags: 6, Off: 0x1800, Vaddr: 0x403800, Filesz: 0x100, Memsz: 0x3000, Align: 4096},
	}
	if change != nil {
		change(&h, p)
	}
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, p)
	out := make([]byte, size)
	copy(out, b.Bytes())
	return out
}

func parse(b []byte) (*Image, error) { return Parse(bytes.NewReader(b), int64(len(b)), target) }

func TestParse(t *testing.T) {
	got, err := parse(image(0x2000, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := &Image{
		Entry: 0x401000, Start: 0x400000, End: 0x407000, Header: 0x400040, HeaderSize: 56, HeaderCount: 3,
		Segments: []Segment{
			{Addr: 0x400000, FileSize: 0x200, MemSize: 0x200, Access: arch.Read},
			{Addr: 0x401000, Offset: 0x1000, FileSize: 0x100, MemSize: 0x100, Access: arch.Read | arch.Exec},
			{Addr: 0x403800, Offset: 0x1800, FileSize: 0x100, MemSize: 0x3000, Access: arch.Read | arch.Write},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not an ELF"},
		{"text", []byte("hello world, this is no program at all"), "not an ELF"},
		{"script", []byte("#!/bin/sh\necho\n"), "script"},
		{"magic only", []byte("\x7fELF"), "not an ELF"},
		{"cut header", image(0x2000, nil)[:40], "truncated"},
		{"cut program headers", image(0x2000, nil)[:100], "truncated"},
		{"cut segment", image(0x2000, nil)[:0x1080], "truncated"},
		{"32 bit", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Ident[4] = 1 }), "another machine"},
		{"big endian", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Ident[5] = 2 }), "another machine"},
		{"arm", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Machine = uint16(elf.EM_AARCH64) }), "another machine"},
		{"object", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Type = uint16(elf.ET_REL) }), "not an executable"},
		{"no headers", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Phnum = 0 }), "0 program headers"},
		{"many headers", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Phnum = 60000 }), "60000 program headers"},
		{"headers far away", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Phoff = 1<<63 + 1 }), "truncated"},
		{"bad entry", image(0x2000, func(h *elf.Header64, _ []elf.Prog64) { h.Entry = 8 }), "entry point"},
		{"file larger than memory", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) { p[1].Memsz = 1 }), "larger in the file"},
		{"misaligned", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) { p[1].Vaddr++ }), "aligned"},
		{"overlap", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) { p[0].Memsz = 0x2000 }), "overlap"},
		{"above guest space", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) { p[2].Vaddr = 0x7fffffffb800 }), "does not fit"},
		{"wraps", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) { p[2].Memsz = 1<<64 - 1 }), "does not fit"},
		{"nothing", image(0x2000, func(_ *elf.Header64, p []elf.Prog64) {
			for i := range p {
				p[i].Type = 0
			}
		}), "nothing to load"},
	} {
		_, err := parse(c.file)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Reason, c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}
