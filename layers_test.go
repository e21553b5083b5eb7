// The root of the module has no code of its own, only the test of its layout.
package goskas

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const module = "goskas"

// layers lists every package of the module, the highest layer first. A package
// imports only from layers below its own.
var layers = [][]string{
	{"cmd/skas", "examples/hello", "realuml/get"},
	{"bench", "containment", "guest/toy", "internal/testguest"},
	{"guest"},
	{"guest/loader", "guest/strace", "guest/vfs", "realuml"},
	{"guest/wait"},
	{"skas", "internal/testkit"},
	{"stubexe", "syscallq", "mm", "guard", "timer", "arch/amd64", "arch/386"},
	{"physmem", "arch", "internal/probe"},
	{"internal/sys", "internal/bpf", "program"},
	{"internal/abi", "stubexe/stubabi", "internal/elfimage", "arch/amd64/asm", "realuml/trace"},
}

// testOnly are packages that only tests import.
var testOnly = []string{"internal/testkit", "internal/testguest"}

// cpuUsers are the packages that import a CPU's package, and why each may.
// Programs that are amd64 code by nature need its assembler alone.
var cpuUsers = map[string]map[string]string{
	"arch/amd64": {
		"cmd/skas":           "hands the list of CPUs to the guest",
		"containment":        "plays the kernel to programs that it assembles",
		"examples/hello":     "is a command of its own",
		"internal/testguest": "is imported by tests only",
	},
	"arch/amd64/asm": {
		"arch/amd64":     "assembles the stub",
		"examples/hello": "assembles its guest",
		"program":        "builds amd64 programs",
		"guest/toy":      "is a set of amd64 programs",
		"bench":          "measures amd64 programs",
		"containment":    "assembles misbehaving programs",
		"realuml":        "runs amd64 programs under real User Mode Linux",
	},
}

// notForGuests are packages that guest policy has no business with: it goes
// through skas.
var notForGuests = []string{"stubexe", "stubexe/stubabi", "syscallq", "internal/sys", "internal/bpf"}

// unsafeFiles are patterns of the files that may import unsafe.
var unsafeFiles = []string{
	"internal/sys/*.go",
	"physmem/*_unsafe.go",
	"stubexe/stubabi/*_unsafe.go",
	"guest/vfs/*_unsafe.go",
}

// Exceptions of single files, and why.
var (
	rawSyscallFiles = map[string]string{
		"guest/vfs/ioctl_unsafe.go": "passes terminal ioctls on, whose argument sizes are known there alone",
	}
	archSuffixFiles = map[string]string{
		"arch/amd64/cpuid_amd64.s": "a CPU can only be asked on that CPU",
	}
	skipFiles = map[string]string{
		"internal/testkit/need.go": "is the way to skip",
		"realuml/need_test.go":     "needs a kernel to be fetched; it obeys SKAS_REQUIRE by itself",
	}
)

// source is a Go file.
type source struct {
	name string // below the root, with slashes
	pkg  string // its directory
	test bool
	file *ast.File
	fset *token.FileSet
}

func (s *source) imports() (list []string) {
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic("BUG: the parser let an import pass: " + err.Error())
		}
		list = append(list, p)
	}
	return list
}

// ours are the imports from this module, without its name.
func (s *source) ours() (list []string) {
	for _, p := range s.imports() {
		if pkg, ok := strings.CutPrefix(p, module+"/"); ok {
			list = append(list, pkg)
		}
	}
	return list
}

// checker collects what breaks a rule, and which exceptions were needed.
type checker struct {
	breaches []string
	used     map[string]bool
}

func (c *checker) breach(where, format string, args ...any) {
	c.breaches = append(c.breaches, where+": "+fmt.Sprintf(format, args...))
}

func (c *checker) excepted(table map[string]string, name string) bool {
	_, ok := table[name]
	c.used[name] = c.used[name] || ok
	return ok
}

// check reads all files of the module.
func check(root fs.FS) (*checker, error) {
	c := &checker{used: make(map[string]bool)}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != "." && (base[0] == '.' || base == "testdata" || name == "bin" || name == "build") {
				return fs.SkipDir
			}
			return nil
		}
		ext := path.Ext(base)
		if ext != ".go" && ext != ".s" {
			return nil
		}
		c.fileName(name)
		if ext != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		s := &source{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
		if s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		c.source(s)
		return nil
	})
	return c, err
}

func (c *checker) source(s *source) {
	c.skips(s)
	if s.test {
		return // tests import and look into what they like
	}
	c.direction(s)
	c.cpu(s)
	c.unsafety(s)
	c.calls(s)
}

// fileName keeps GOARCH out of names: a file ending in _386.go would silently
// vanish from the build that is to test it.
func (c *checker) fileName(name string) {
	stem := strings.TrimSuffix(strings.TrimSuffix(name, path.Ext(name)), "_test")
	for _, cpu := range []string{"386", "amd64", "arm", "arm64", "riscv64"} {
		if strings.HasSuffix(stem, "_"+cpu) && !c.excepted(archSuffixFiles, name) {
			c.breach(name, "CPU code compiles on every host: no GOARCH suffix in file names")
		}
	}
}

func layerOf(pkg string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, pkg) })
}

func (c *checker) direction(s *source) {
	own := layerOf(s.pkg)
	if own < 0 {
		c.breach(s.name, "package %s has no layer: give it one in layers_test.go", s.pkg)
		return
	}
	for _, pkg := range s.ours() {
		switch at := layerOf(pkg); {
		case at < 0:
			c.breach(s.name, "package %s has no layer: give it one in layers_test.go", pkg)
		case at <= own:
			c.breach(s.name, "imports %s: a package imports only from layers below its own; ask by an interface for what is above or beside", pkg)
		}
		if slices.Contains(testOnly, pkg) && !slices.Contains(testOnly, s.pkg) {
			c.breach(s.name, "imports %s, which is for tests only", pkg)
		}
		if (s.pkg == "guest" || strings.HasPrefix(s.pkg, "guest/")) && slices.Contains(notForGuests, pkg) {
			c.breach(s.name, "imports %s: guest code reaches the host through skas and x/sys/unix alone", pkg)
		}
	}
}

func (c *checker) cpu(s *source) {
	for _, pkg := range s.ours() {
		if pkg == "arch" || !strings.HasPrefix(pkg, "arch/") {
			continue
		}
		if !c.excepted(cpuUsers[pkg], s.pkg) {
			c.breach(s.name, "imports %s: only arch/ knows registers; commands, examples and tests choose a CPU (exceptions, with a reason, in layers_test.go)", pkg)
		}
	}
}

func (c *checker) unsafety(s *source) {
	imports := s.imports()
	if slices.Contains(imports, "C") {
		c.breach(s.name, "imports C: no C compiler is needed to build or run")
	}
	for _, group := range s.file.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:linkname") {
				c.breach(s.name, "go:linkname into other packages")
			}
		}
	}
	if !slices.Contains(imports, "unsafe") {
		return
	}
	for _, pattern := range unsafeFiles {
		if ok, _ := path.Match(pattern, s.name); ok {
			return
		}
	}
	c.breach(s.name, "imports unsafe, which is for %s alone", strings.Join(unsafeFiles, ", "))
}

// calls looks for raw system calls and for init functions.
func (c *checker) calls(s *source) {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			c.breach(s.name, "has an init function: no registration, no hidden start-up")
		}
	}
	if s.pkg == "internal/sys" {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := sel.X.(*ast.Ident)
		if !ok || pkg.Name != "unix" && pkg.Name != "syscall" {
			return true
		}
		name := strings.TrimPrefix(sel.Sel.Name, "Raw")
		if strings.HasPrefix(name, "Syscall") && !c.excepted(rawSyscallFiles, s.name) {
			c.breach(s.fset.Position(n.Pos()).String(), "%s.%s: raw system calls are for internal/sys alone", pkg.Name, sel.Sel.Name)
		}
		return true
	})
}

func (c *checker) skips(s *source) {
	if !s.test && !slices.Contains(testOnly, s.pkg) {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
			return true
		}
		if of, ok := sel.X.(*ast.Ident); ok && of.Name == "testkit" {
			return true // which keeps the list
		}
		if !c.excepted(skipFiles, s.name) {
			c.breach(s.fset.Position(n.Pos()).String(), "a skip is a claim about the host: only testkit skips")
		}
		return true
	})
}

func TestLayers(t *testing.T) {
	c, err := check(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.breaches {
		t.Error(b)
	}
	for _, table := range []map[string]string{rawSyscallFiles, archSuffixFiles, skipFiles, cpuUsers["arch/amd64"], cpuUsers["arch/amd64/asm"]} {
		for name, reason := range table {
			if !c.used[name] {
				t.Errorf("the exception for %s (%q) is not needed any more", name, reason)
			}
		}
	}
}

// Each rule finds its breach, in a module that breaks them all.
func TestLayersFindsBreaches(t *testing.T) {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"guest/a.go":                "package guest\nimport _ \"goskas/cmd/skas\"",
		"guest/b.go":                "package guest\nimport _ \"goskas/internal/sys\"",
		"guest/vfs/a.go":            "package vfs\nimport _ \"unsafe\"",
		"guest/vfs/a_unsafe.go":     "package vfs\nimport _ \"unsafe\"",
		"mm/a.go":                   "package mm\nimport _ \"goskas/syscallq\"",
		"mm/a_386.go":               "package mm",
		"mm/a_test.go":              "package mm\nimport (\n_ \"goskas/guest\"\n\"testing\")\nfunc TestA(t *testing.T) { t.Skip() }",
		"mm/testdata/b.go":          "not Go",
		"skas/a.go":                 "package skas\nimport _ \"goskas/arch/amd64\"",
		"skas/b.go":                 "package skas\nimport \"golang.org/x/sys/unix\"\nfunc f() { unix.RawSyscall6(1, 2, 3, 4, 5, 6, 7) }",
		"cmd/skas/b.go":             "package main\nimport _ \"goskas/internal/testkit\"",
		"skas/c.go":                 "package skas\nfunc init() {}",
		"skas/d.go":                 "package skas\nimport \"C\"\n//go:linkname f runtime.f\nfunc f()",
		"internal/sys/a.go":         "package sys\nimport (\n\"syscall\"\n_ \"unsafe\")\nvar _ = syscall.Syscall",
		"internal/new/a.go":         "package new",
		"cmd/skas/a.go":             "package main\nimport (\n_ \"goskas/arch/amd64\"\n_ \"goskas/internal/other\")",
		"arch/amd64/cpuid_amd64.s":  "",
		"arch/amd64/other_amd64.s":  "",
		"internal/testguest/new.go": "package testguest\nimport \"testing\"\nfunc Need(t *testing.T) { t.SkipNow() }",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := check(files)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range c.breaches {
		got = append(got, b[:min(len(b), 52)])
	}
	slices.Sort(got)
	want := []string{
		"arch/amd64/other_amd64.s: CPU code compiles on every",
		"cmd/skas/a.go: package internal/other has no layer: ",
		"cmd/skas/b.go: imports internal/testkit, which is fo",
		"guest/a.go: imports cmd/skas: a package imports only",
		"guest/b.go: imports internal/sys: guest code reaches",
		"guest/vfs/a.go: imports unsafe, which is for interna",
		"internal/new/a.go: package internal/new has no layer",
		"internal/testguest/new.go:3:27: a skip is a claim ab",
		"mm/a.go: imports syscallq: a package imports only fr",
		"mm/a_386.go: CPU code compiles on every host: no GOA",
		"mm/a_test.go:5:28: a skip is a claim about the host:",
		"skas/a.go: imports arch/amd64: only arch/ knows regi",
		"skas/b.go:3:12: unix.RawSyscall6: raw system calls a",
		"skas/c.go: has an init function: no registration, no",
		"skas/d.go: go:linkname into other packages",
		"skas/d.go: imports C: no C compiler is needed to bui",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
