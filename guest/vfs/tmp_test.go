package vfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// Empty files, directories and links cost memory, too: a guest could once make
// any number of them.
func TestTmpLimitsNames(t *testing.T) {
	fs := NewTmp(1, 1<<20, newMemory(t), nil)
	root := fs.Root()
	file, err := root.Create("file", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	kinds := []func(name string) error{
		func(name string) error { _, err := root.Create(name, 0o644); return err },
		func(name string) error { return root.Mkdir(name, 0o755) },
		func(name string) error { return root.Symlink(name, "target") },
		func(name string) error { return root.Link(name, file) },
	}
	n := 1
	for ; err == nil && n < 1<<20; n++ {
		err = kinds[n%4](fmt.Sprint(n))
	}
	if err != unix.ENOSPC || n > minNames+1 {
		t.Fatalf("%d names, then %v", n, err)
	}
	for i, make := range kinds {
		if err := make("more"); err != unix.ENOSPC {
			t.Errorf("kind %d: %v", i, err)
		}
	}
	if err := root.Rename("file", root, "renamed", 0); err != nil {
		t.Errorf("rename in a full tree: %v", err)
	}
	if err := root.Unlink("renamed"); err != nil {
		t.Error(err)
	}
	if err := kinds[0]("again"); err != nil {
		t.Errorf("after a removal: %v", err)
	}
}

// Space is counted page by page, given back with the last name or user, and a
// file that meets the limit keeps what it has.
func TestTmpAccountsForSpace(t *testing.T) {
	const limit = 16 * pageSize
	fs := NewTmp(1, limit, newMemory(t), nil)
	rnd := rand.New(rand.NewPCG(1, 7))
	type state struct {
		node Node
		file File // nil if it is not open
		name string
		data map[int64]bool // pages with content
	}
	var files []*state
	for i := range 4000 {
		switch op := rnd.IntN(6); {
		case op == 0 && len(files) < 8:
			s := &state{name: fmt.Sprint(i), data: map[int64]bool{}}
			var err error
			if s.node, err = fs.Root().Create(s.name, 0o644); err != nil {
				t.Fatal(err)
			}
			if s.file, err = s.node.Open(unix.O_RDWR); err != nil {
				t.Fatal(err)
			}
			files = append(files, s)
		case len(files) == 0:
		case op <= 2:
			s := files[rnd.IntN(len(files))]
			if s.file == nil {
				continue
			}
			off := int64(rnd.IntN(1 << 20))
			b := bytes.Repeat([]byte{1}, 1+rnd.IntN(3*pageSize))
			n, err := s.file.WriteAt(b, off)
			if n == 0 != (err == unix.ENOSPC) {
				t.Fatalf("write: %d, %v", n, err)
			}
			for p := off / pageSize; n > 0 && p <= (off+int64(n)-1)/pageSize; p++ {
				s.data[p] = true
			}
		case op == 3:
			s := files[rnd.IntN(len(files))]
			size := int64(rnd.IntN(1 << 20))
			if err := s.node.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for p := range s.data {
				if p*pageSize >= size {
					delete(s.data, p)
				}
			}
		default:
			// A name or the open file goes; the rest of it later.
			j := rnd.IntN(len(files))
			s := files[j]
			if s.name != "" && op == 4 {
				if err := fs.Root().Unlink(s.name); err != nil {
					t.Fatal(err)
				}
				s.name = ""
			} else if s.file != nil {
				s.file.Close()
				s.file = nil
			}
			if s.name == "" && s.file == nil {
				files = append(files[:j], files[j+1:]...)
			}
		}
		want := int64(0)
		for _, s := range files {
			want += int64(len(s.data)) * pageSize
		}
		if fs.Used() != want || want > limit {
			t.Fatalf("%d bytes used of %d, want %d", fs.Used(), limit, want)
		}
	}
}

// Positions in a directory stay good while names come and go: what is there all
// the time is listed once.
func TestReaddirWhileNamesChange(t *testing.T) {
	fs := NewTmp(1, 1<<20, newMemory(t), nil)
	rnd := rand.New(rand.NewPCG(2, 7))
	for i := range 40 {
		if _, err := fs.Root().Create(fmt.Sprintf("keep%d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 50 {
		f, err := fs.Root().Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		pos, n := int64(0), 0
		for {
			list, err := f.Readdir(pos, 1+rnd.IntN(5))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			for _, d := range list {
				seen[d.Name]++
				pos = d.Next
			}
			name := fmt.Sprintf("r%d.%d", round, n)
			if n++; n < 20 {
				fs.Root().Create(name, 0o644)
			}
			fs.Root().Unlink(fmt.Sprintf("r%d.%d", round, rnd.IntN(n)))
			if rnd.IntN(4) == 0 { // a name that moves is not lost for the others
				fs.Root().Rename(name, fs.Root(), name+"x", 0)
			}
		}
		f.Close()
		for i := range 40 {
			if got := seen[fmt.Sprintf("keep%d", i)]; got != 1 {
				t.Fatalf("keep%d was listed %d times", i, got)
			}
		}
		if seen["."] != 1 || seen[".."] != 1 {
			t.Fatalf("listed %v", seen)
		}
	}
}
