package loader

import (
	"bytes"
	"debug/elf"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"goskas/arch"
)

// corpus has one file of each kind that a guest may try to run.
func corpus() map[string][]byte {
	type header = elf.Header64
	list := map[string][]byte{
		"static": image(0x2000, nil),
		"static PIE": image(0x2000, func(h *header, p []elf.Prog64) {
			h.Type, h.Entry = uint16(elf.ET_DYN), 0x1000
			for i := range p {
				p[i].Vaddr -= 0x400000
			}
		}),
		"dynamic": image(0x2000, func(h *header, p []elf.Prog64) {
			p[0].Type, p[0].Off, p[0].Filesz = uint32(elf.PT_INTERP), 0x1f00, 8
		}),
		"machine":       image(0x2000, func(h *header, _ []elf.Prog64) { h.Machine = uint16(elf.EM_RISCV) }),
		"32 bit":        image(0x2000, func(h *header, _ []elf.Prog64) { h.Ident[4], h.Machine = 1, uint16(elf.EM_386) }),
		"overlapping":   image(0x2000, func(_ *header, p []elf.Prog64) { p[0].Memsz = 0x20000 }),
		"same page":     image(0x2000, func(_ *header, p []elf.Prog64) { p[2].Vaddr = 0x401800 }),
		"reversed":      image(0x2000, func(_ *header, p []elf.Prog64) { p[0], p[2] = p[2], p[0] }),
		"huge bss":      image(0x2000, func(_ *header, p []elf.Prog64) { p[2].Memsz = 0x7000_0000_0000 }),
		"huge segment":  image(0x2000, func(_ *header, p []elf.Prog64) { p[2].Filesz, p[2].Memsz = 1<<62, 1<<62 }),
		"huge headers":  image(0x2000, func(h *header, _ []elf.Prog64) { h.Phnum = math.MaxUint16 }),
		"huge interp":   image(0x2000, func(_ *header, p []elf.Prog64) { p[0].Type, p[0].Filesz = uint32(elf.PT_INTERP), 1<<40 }),
		"far headers":   image(0x2000, func(h *header, _ []elf.Prog64) { h.Phoff = math.MaxUint64 - 8 }),
		"many segments": image(0x4000, func(h *header, _ []elf.Prog64) { h.Phnum, h.Phoff = maxHeaders, 0x100 }),
		"script":        []byte("#!/bin/sh\n"),
		"empty":         {},
	}
	copy(list["dynamic"][0x1f00:], "/lib/ld\x00")
	for _, n := range []int{1, 4, 16, 63, 64, 65, 119, 120, 300, 0x1000, 0x18ff} {
		list["truncated at "+string(rune('a'+len(list)))] = image(0x2000, nil)[:n]
	}
	return list
}

// check is what must hold for any file.
func check(t *testing.T, b []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	img, err := parse(b)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("%d bytes allocated for a file of %d", n, len(b))
	}
	if (img == nil) == (err == nil) {
		t.Fatalf("image %v and error %v", img, err)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || len(e.Reason) < 8 || strings.ContainsAny(e.Reason, "\n\x00") {
			t.Fatalf("error %q does not say what is wrong", err)
		}
		return
	}
	if len(img.Segments) == 0 || len(img.Segments) > maxHeaders || img.Start.PageOffset() != 0 || img.End.PageOffset() != 0 ||
		img.End > target.Top || img.Entry < img.Start || img.Entry >= img.End || img.HeaderCount > maxHeaders {
		t.Fatalf("bad image %+v", img)
	}
	if img.Header != 0 && (img.Header < img.Start || img.Header >= img.End) {
		t.Fatalf("program headers at %#x are not in the image", uint64(img.Header))
	}
	if strings.Contains(img.Interp, "\x00") || len(img.Interp) > maxInterp {
		t.Fatalf("interpreter %q", img.Interp)
	}
	last := img.Start
	for i, s := range img.Segments {
		end, ok := (s.Addr + arch.Addr(s.MemSize)).PageUp()
		if s.Addr.PageDown() < last || !ok || end > img.End || s.MemSize == 0 || s.FileSize > s.MemSize ||
			s.Offset > uint64(len(b)) || s.FileSize > uint64(len(b))-s.Offset ||
			s.Offset%arch.PageSize != s.Addr.PageOffset() || s.Access&^7 != 0 {
			t.Fatalf("bad segment %d of %+v", i, img)
		}
		last = end
	}
	if last != img.End {
		t.Fatalf("the image ends at %#x, its last segment at %#x", uint64(img.End), uint64(last))
	}
}

func TestCorpus(t *testing.T) {
	good := map[string]bool{"static": true, "static PIE": true, "dynamic": true, "huge bss": true}
	for name, b := range corpus() {
		check(t, b)
		if _, err := parse(b); (err == nil) != good[name] && name != "many segments" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Files with a few bytes changed reach much deeper than noise does.
func TestDamagedFiles(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	odd := []byte{0, 1, 2, 7, 8, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff}
	for _, b := range corpus() {
		for range 600 {
			c := bytes.Clone(b)
			for range 1 + rnd.IntN(4) {
				if n := min(len(c), 64+3*phdrSize); n > 0 {
					c[rnd.IntN(n)] = odd[rnd.IntN(len(odd))]
				}
			}
			check(t, c)
		}
	}
}

// failing is a file that cannot be read.
type failing struct{}

var errIO = errors.New("input/output error")

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errIO }

func TestReadErrorsAreNotTheImagesFault(t *testing.T) {
	var e *Error
	if _, err := Parse(failing{}, 1000, target); !errors.Is(err, errIO) || errors.As(err, &e) {
		t.Errorf("error %v", err)
	}
	// A file that became shorter since it was measured is truncated.
	if _, err := Parse(bytes.NewReader(image(0x2000, nil)[:100]), 0x2000, target); !errors.As(err, &e) {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range corpus() {
		f.Add(b)
	}
	f.Fuzz(check)
}
