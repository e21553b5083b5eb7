package vfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostTree prepares a directory whose links try to leave it, beside a secret.
func hostTree(t *testing.T) *Namespace {
	t.Helper()
	outer := t.TempDir()
	root := filepath.Join(outer, "root")
	for path, text := range map[string]string{
		"secret":          "outside",
		"root/secret":     "inside",
		"root/dir/secret": "deeper",
		"root/dir/file":   "file",
	} {
		path = filepath.Join(outer, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"abs":          "/secret",
		"up":           "../secret",
		"far":          "../../../../../../../../secret",
		"dir/up":       "../../secret",
		"dir/away":     "../..",
		"outside":      outer,
		"outside2":     filepath.Join(outer, "secret"),
		"dir/abs":      "/dir",
		"self":         "self",
		"ping":         "pong",
		"pong":         "./ping",
		"through":      "dir/away/secret",
		"todir":        "dir",
		"slash":        "dir/file/",
		"proc":         "/proc/self/root",
		"dangling":     "nothing",
		"dir/dots":     "./././abs/../dir/secret",
		"chain":        "chain1",
		"chain1":       "chain2",
		"chain2":       "dir/up",
		"dir/abslinks": "/dir/abs/abs/abs/secret",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(root, false, NewHostCache(newMemory(t), 100))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return NewNamespace(h.Root())
}

func readNode(n Node) (string, error) {
	f, err := n.Open(unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 100)
	m, err := f.ReadAt(b, 0)
	return string(b[:m]), err
}

// No path leads out of the host directory: the root is its own parent, and links
// count from it.
func TestHostRootCannotBeLeft(t *testing.T) {
	ns := hostTree(t)
	for path, want := range map[string]string{
		"/secret": "inside", "/../secret": "inside", "/../../../../secret": "inside", "/abs": "inside",
		"/up": "inside", "/far": "inside", "/dir/up": "inside", "/dir/away/secret": "inside",
		"/through": "inside", "/chain": "inside", "/todir/../secret": "inside", "/todir/secret": "deeper",
		"/dir/abs/secret": "deeper", "/dir/abslinks": "deeper", "/dir/dots": "deeper", "/dir/away/../../dir/file": "file",
	} {
		d, err := ns.Walk(ns.Root(), path, true)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, err := readNode(d.Node); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]unix.Errno{
		"/outside": unix.ENOENT, "/outside2": unix.ENOENT, "/outside/secret": unix.ENOENT, "/proc": unix.ELOOP,
		"/self": unix.ELOOP, "/ping": unix.ELOOP, "/self/x": unix.ELOOP, "/dangling": unix.ENOENT,
		"/slash": unix.ENOTDIR, "/secret/": unix.ENOTDIR, "/secret/.": unix.ENOTDIR, "/secret/..": unix.ENOTDIR,
		"/secret/x": unix.ENOTDIR, "/abs/": unix.ENOTDIR, "": unix.ENOENT,
		"/" + strings.Repeat("n", 256): unix.ENAMETOOLONG, "/" + strings.Repeat("n", 255): unix.ENOENT,
		"/" + strings.Repeat("x/", 2048):               unix.ENAMETOOLONG,
		"/secret/" + strings.Repeat("n", 256):          unix.ENOTDIR,
		"/dir/" + strings.Repeat("away/dir/", 50) + "": unix.ELOOP,
	} {
		if _, err := ns.Walk(ns.Root(), path, true); err != want {
			t.Errorf("%.60s: %v, want %v", path, err, want)
		}
	}
}

// Forty links are followed, as on Linux, and no more.
func TestFortyLinks(t *testing.T) {
	ns := hostTree(t)
	for n, want := range map[int]error{40: nil, 41: unix.ELOOP} {
		path := "/" + strings.Repeat("dir/abs/../", n) + "secret"
		if _, err := ns.Walk(ns.Root(), path, true); err != want {
			t.Errorf("%d links: %v", n, err)
		}
	}
}

// The guest sees the host's files and changes none.
func TestHostIsReadOnly(t *testing.T) {
	ns := hostTree(t)
	walk := func(path string) Node {
		t.Helper()
		d, err := ns.Walk(ns.Root(), path, false)
		if err != nil {
			t.Fatal(err)
		}
		return d.Node
	}
	root, file, dir := walk("/"), walk("/secret"), walk("/dir")
	for _, c := range []struct {
		what string
		do   func() error
		want unix.Errno
	}{
		{"open to write", func() error { _, err := file.Open(unix.O_WRONLY); return err }, unix.EROFS},
		{"truncate by open", func() error { _, err := walk("/secret").Open(unix.O_TRUNC); return err }, unix.EROFS},
		{"open a directory to write", func() error { _, err := dir.Open(unix.O_RDWR); return err }, unix.EISDIR},
		{"open a link", func() error { _, err := walk("/abs").Open(0); return err }, unix.ELOOP},
		{"open a fifo", func() error { _, err := walk("/fifo").Open(0); return err }, unix.ENXIO},
		{"create", func() error { _, err := root.Create("new", 0o644); return err }, unix.EROFS},
		{"create what is there", func() error { _, err := root.Create("secret", 0o644); return err }, unix.EEXIST},
		{"mkdir", func() error { return root.Mkdir("new", 0o755) }, unix.EROFS},
		{"mkdir what is there", func() error { return root.Mkdir("dir", 0o755) }, unix.EEXIST},
		{"symlink", func() error { return root.Symlink("new", "x") }, unix.EROFS},
		{"link", func() error { return root.Link("new", file) }, unix.EROFS},
		{"unlink", func() error { return root.Unlink("secret") }, unix.EROFS},
		{"rmdir", func() error { return root.Rmdir("dir") }, unix.EROFS},
		{"rename", func() error { return root.Rename("secret", root, "new", 0) }, unix.EROFS},
		{"chmod", func() error { return file.Chmod(0) }, unix.EROFS},
		{"chown", func() error { return file.Chown(1, 1) }, unix.EROFS},
		{"truncate", func() error { return file.Truncate(0) }, unix.EROFS},
	} {
		if err := c.do(); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	f, err := walk("/secret").Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote to the host")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("truncated the host's file")
	}
	if got, err := readNode(walk("/secret")); got != "inside" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A mount hides what is below it, and ".." leads out of it again.
func TestMounts(t *testing.T) {
	ns := hostTree(t)
	tmp := NewTmp(1, 1<<20, newMemory(t), nil)
	ns.Mount("/dir", tmp.Root())
	if _, err := tmp.Root().Create("mine", 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/dir/mine": nil, "/todir/mine": nil, "/dir/file": unix.ENOENT, "/dir/../secret": nil, "/dir/../dir/mine": nil,
	} {
		if _, err := ns.Walk(ns.Root(), path, true); err != want {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	d, err := ns.Walk(ns.Root(), "/todir", true)
	if err != nil || !ns.IsMount(d) || ns.Path(d) != "/dir" {
		t.Errorf("%v: mount %v at %s", err, ns.IsMount(d), ns.Path(d))
	}
}
