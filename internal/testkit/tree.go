package testkit

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Plant makes files below dir, by path, with their directories.
func Plant(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Tree lists a tree of the host with all that a guest could change.
func Tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		case unix.S_IFLNK:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		tree[path] = fmt.Sprintf("%o %d.%d %d links, changed %v, %q", st.Mode, st.Uid, st.Gid, st.Nlink, st.Ctim, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
