package amd64

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"testing"

	"goskas/arch"
	"goskas/internal/testkit"
)

func TestVDSOAgainstGolden(t *testing.T) {
	image, err := New().VDSO()
	if err != nil {
		t.Fatal(err)
	}
	if len(image) != arch.VDSOPages*arch.PageSize {
		t.Fatalf("%d bytes", len(image))
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 || len(f.Progs) != 2 {
		t.Errorf("%v", f.FileHeader)
	}
	const codeAt = 0x600
	code := bytes.TrimRight(image[codeAt:], "\x00")
	testkit.Golden(t, filepath.Join("testdata", "vdso.golden"), listing(code, codeAt, nil))
}

func TestSysvHash(t *testing.T) {
	// The numbers that the Go runtime has for these (runtime/vdso_linux_amd64.go).
	for name, want := range map[string]uint32{"LINUX_2.6": 0x3ae75f6, "__vdso_gettimeofday": 0x315ca59, "__vdso_clock_gettime": 0xd35ec75} {
		if got := sysvHash(name); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}

func TestCounterGoesForward(t *testing.T) {
	a := New()
	last := a.CounterNow()
	for range 1000 {
		now := a.CounterNow()
		if a.CounterSteady() && now < last {
			t.Fatalf("%d after %d", now, last)
		}
		last = now
	}
}
