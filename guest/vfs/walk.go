package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of paths (linux/limits.h, MAXSYMLINKS in linux/namei.h).
const (
	maxName  = 255
	maxPath  = 4096
	maxLinks = 40
)

// Dentry is a node at its place in the namespace. One in a tree that the guest
// can change follows the name when that is changed.
type Dentry struct {
	Parent  *Dentry // nil for the root
	Name    string
	Node    Node
	Deleted bool // the name is gone, Name is what it was
}

// placer is a directory whose names can change. It keeps the dentries of those.
type placer interface {
	// Place is the dentry of a name, nil if there is none; d is the
	// directory's own.
	Place(d *Dentry, name string) *Dentry
}

// Namespace is a tree of mounted trees, seen from a root directory in it.
type Namespace struct {
	root *Dentry
	// mounts has the mounted trees by path; names has the last components
	// of those, so that most lookups need not build a path. The dentry of a
	// mount gets its parent when it is found.
	mounts map[string]*Dentry
	names  map[string]bool
}

// NewNamespace makes a namespace over a root directory.
func NewNamespace(root Node) *Namespace {
	return &Namespace{root: &Dentry{Node: root}, mounts: make(map[string]*Dentry), names: make(map[string]bool)}
}

// Root is the root directory.
func (n *Namespace) Root() *Dentry { return n.root }

// Chroot is the same namespace seen from another root directory.
func (n *Namespace) Chroot(root *Dentry) *Namespace {
	c := *n
	c.root = root
	return &c
}

// isRoot says that ".." does not lead out of d. Directories of the host get a
// dentry each time that they are looked up.
func (n *Namespace) isRoot(d *Dentry) bool {
	return d.Parent == nil || d == n.root ||
		d.Name == n.root.Name && d.Deleted == n.root.Deleted && d.fullPath() == n.root.fullPath()
}

// Mount puts a tree at a clean absolute path, whether or not something is there.
func (n *Namespace) Mount(path string, node Node) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	n.mounts[path] = &Dentry{Name: name, Node: node}
	n.names[name] = true
}

// Mounts lists the mount points.
func (n *Namespace) Mounts() []string {
	var list []string
	for path := range n.mounts {
		list = append(list, path)
	}
	return list
}

// Show is Path for /proc: a name that is gone is marked.
func (n *Namespace) Show(d *Dentry) string {
	if d.Deleted {
		return n.Path(d) + " (deleted)"
	}
	return n.Path(d)
}

// Path is where d is below the root directory, as getcwd tells it. What is not
// below it, in a directory that was opened before chroot, has its whole path.
func (n *Namespace) Path(d *Dentry) string {
	return d.path(n.isRoot)
}

// Reachable says that d is below the root directory.
func (n *Namespace) Reachable(d *Dentry) bool {
	for !n.isRoot(d) {
		d = d.Parent
	}
	return d.Parent != nil || n.root.Parent == nil
}

// fullPath is where d is in the whole tree.
func (d *Dentry) fullPath() string { return d.path(func(d *Dentry) bool { return d.Parent == nil }) }

func (d *Dentry) path(isRoot func(*Dentry) bool) string {
	if isRoot(d) {
		return "/"
	}
	var parts []string
	for ; !isRoot(d); d = d.Parent {
		parts = append(parts, d.Name)
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(parts[i])
	}
	return b.String()
}

// child is d's entry of a name.
func (n *Namespace) child(d *Dentry, name string) (*Dentry, error) {
	if len(name) > maxName {
		if err := mustBeDir(d.Node); err != nil {
			return nil, err
		}
		return nil, unix.ENAMETOOLONG
	}
	if n.names[name] {
		if m := n.mounts[(&Dentry{Parent: d, Name: name}).fullPath()]; m != nil {
			m.Parent = d
			return m, nil
		}
	}
	if p, ok := d.Node.(placer); ok {
		if c := p.Place(d, name); c != nil {
			return c, nil
		}
	}
	node, err := d.Node.Lookup(name)
	if err != nil {
		return nil, err
	}
	return &Dentry{Parent: d, Name: name, Node: node}, nil
}

// IsMount reports whether d is the root of a mounted tree.
func (n *Namespace) IsMount(d *Dentry) bool {
	return d.Parent == nil || n.names[d.Name] && n.mounts[d.fullPath()] == d
}

// Walk finds what a path names, starting from cwd if it is relative. A symbolic
// link at the end is followed if follow is set or a slash comes behind it.
func (n *Namespace) Walk(cwd *Dentry, path string, follow bool) (*Dentry, error) {
	w := walker{ns: n}
	return w.walk(cwd, path, follow)
}

// WalkParent finds the directory that a path's last component is, or would be,
// in. last may be "." or "..", or empty for the root itself. slash tells whether
// the path ends in one: only a directory may be meant then. That last is not too
// long is Child's business.
func (n *Namespace) WalkParent(cwd *Dentry, path string) (dir *Dentry, last string, slash bool, err error) {
	if path == "" {
		return nil, "", false, unix.ENOENT
	}
	if len(path) >= maxPath {
		return nil, "", false, unix.ENAMETOOLONG
	}
	trimmed := strings.TrimRight(path, "/")
	slash = len(trimmed) < len(path)
	if trimmed == "" {
		return n.root, "", true, nil
	}
	head, last := "", trimmed
	if i := strings.LastIndexByte(trimmed, '/'); i >= 0 {
		head, last = trimmed[:i+1], trimmed[i+1:]
	}
	dir = cwd
	if head != "" {
		if dir, err = n.Walk(cwd, head, true); err != nil {
			return nil, "", false, err
		}
	}
	if err := mustBeDir(dir.Node); err != nil {
		return nil, "", false, err
	}
	return dir, last, slash, nil
}

// Child finds one name in a directory, as Walk would; a symbolic link is not
// followed.
func (n *Namespace) Child(dir *Dentry, name string) (*Dentry, error) {
	switch name {
	case "", ".":
		return dir, nil
	case "..":
		if n.isRoot(dir) {
			return dir, nil
		}
		return dir.Parent, nil
	}
	return n.child(dir, name)
}

// Follow is Walk for the target of a symbolic link that lies in dir.
func (n *Namespace) Follow(dir *Dentry, link Node) (*Dentry, error) {
	target, err := link.Readlink()
	if err != nil {
		return nil, err
	}
	w := walker{ns: n, links: 1}
	return w.walk(dir, target, true)
}

// walker carries the number of links followed through one walk.
type walker struct {
	ns    *Namespace
	links int
}

func (w *walker) walk(cwd *Dentry, path string, follow bool) (*Dentry, error) {
	if path == "" {
		return nil, unix.ENOENT
	}
	if len(path) >= maxPath {
		return nil, unix.ENAMETOOLONG
	}
	d := cwd
	if path[0] == '/' {
		d = w.ns.root
	}
	mustDir := strings.HasSuffix(path, "/")
	for rest := path; ; {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" {
			break
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		final := strings.Trim(rest, "/") == ""
		next, err := w.step(d, name, !final || follow || mustDir)
		if err != nil {
			return nil, err
		}
		d = next
	}
	if mustDir {
		if err := mustBeDir(d.Node); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (w *walker) step(d *Dentry, name string, follow bool) (*Dentry, error) {
	if name == "." || name == ".." {
		if err := mustBeDir(d.Node); err != nil {
			return nil, err
		}
		return w.ns.Child(d, name)
	}
	next, err := w.ns.child(d, name)
	if err != nil || !follow {
		return next, err
	}
	target, err := next.Node.Readlink()
	if err == unix.EINVAL {
		return next, nil // not a link
	}
	if err != nil {
		return nil, err
	}
	if w.links++; w.links > maxLinks {
		return nil, unix.ELOOP
	}
	if l, ok := next.Node.(*Link); ok && l.Jump != nil {
		if to := l.Jump(); to != nil {
			return to, nil
		}
	}
	return w.walk(d, target, true)
}

func mustBeDir(n Node) error {
	st, err := n.Stat()
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return unix.ENOTDIR
	}
	return nil
}
