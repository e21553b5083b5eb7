package realuml

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goskas/internal/testkit"
)

func TestMajor(t *testing.T) {
	for version, want := range map[string]int{"7.2um1": 7, "6.1um2+b1": 6, "10.0": 10, "": 0, "x": 0} {
		if got := major(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

func TestField(t *testing.T) {
	const control = "Package: a\nVersion: 7.2um1\nDepends: libc6 (>= 2.38)\n"
	if got := field(control, "Version"); got != "7.2um1" {
		t.Errorf("%q", got)
	}
	if got := field(control, "Section"); got != "" {
		t.Errorf("%q", got)
	}
}

// TestSetInterpreter changes a program of the host's.
func TestSetInterpreter(t *testing.T) {
	image, err := os.ReadFile(testkit.Command(t, "true"))
	if err != nil {
		t.Fatal(err)
	}
	size := len(image)
	if _, err := setInterpreter(image); err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil || len(image) != size {
		t.Fatalf("%v; %d bytes became %d", err, size, len(image))
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		got, err := io.ReadAll(p.Open())
		if err != nil || strings.TrimRight(string(got), "\x00") != loader {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("no program"), image[:100]} {
		if _, err := setInterpreter(bytes.Clone(bad)); err == nil {
			t.Errorf("%d bytes were taken for a program", len(bad))
		}
	}
}

// TestKernelFetchWithoutNetwork wants the one error that tests may be skipped
// for, where the archive cannot be reached.
func TestKernelFetchWithoutNetwork(t *testing.T) {
	a, err := newApt(t.Context(), t.TempDir())
	if errors.Is(err, ErrUnavailable) {
		testkit.Skip(t, err) // no Debian
	}
	if err != nil {
		t.Fatal(err)
	}
	a.base = "file:" + filepath.Join(t.TempDir(), "nothing")
	version, err := a.choose(t.Context(), t.Logf)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("version %q, %v", version, err)
	}
}

// TestFetchKeeps wants no second fetch of what is there, and none taken for
// there that is not whole.
func TestFetchKeeps(t *testing.T) {
	dir := t.TempDir()
	if _, err := Cached(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, versionFile), []byte("7.9um1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := Fetch(t.Context(), dir, func(format string, args ...any) { t.Errorf(format, args...) })
	if err != nil || k.Version != "7.9um1" || k.dir != filepath.Join(dir, "kernel") {
		t.Errorf("%+v, %v", k, err)
	}
}
