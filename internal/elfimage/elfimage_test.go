package elfimage

import (
	"bytes"
	"debug/elf"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The standard library reads back what was written.
func TestStatic(t *testing.T) {
	text, data := bytes.Repeat([]byte{0x90}, 5000), []byte("data")
	file := Static(elf.EM_X86_64, 0x400010,
		Segment{Addr: 0x400000, Flag: elf.PF_R | elf.PF_X, Data: text, Size: uint64(len(text))},
		Segment{Addr: 0x402000, Flag: elf.PF_R | elf.PF_W, Data: data, Size: 0x3000},
		Segment{Addr: 0x500000, Flag: elf.PF_R | elf.PF_W, Size: 0x1000})
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || f.Entry != 0x400010 {
		t.Errorf("header %+v", f.FileHeader)
	}
	type row struct {
		Type        elf.ProgType
		Flag        elf.ProgFlag
		Addr, Size  uint64
		FirstInFile string
	}
	var got []row
	for _, p := range f.Progs {
		if p.Off%PageSize != p.Vaddr%PageSize {
			t.Errorf("segment at %#x has offset %#x", p.Vaddr, p.Off)
		}
		b, err := io.ReadAll(io.LimitReader(p.Open(), 4))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row{p.Type, p.Flags, p.Vaddr, p.Memsz, string(b)})
	}
	want := []row{
		{elf.PT_LOAD, elf.PF_R | elf.PF_X, 0x400000, 5000, "\x90\x90\x90\x90"},
		{elf.PT_LOAD, elf.PF_R | elf.PF_W, 0x402000, 0x3000, "data"},
		{elf.PT_LOAD, elf.PF_R | elf.PF_W, 0x500000, 0x1000, ""},
		{elf.PT_GNU_STACK, elf.PF_R | elf.PF_W, 0, 0, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
