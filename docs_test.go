package goskas

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// builtLayers are the layers' packages that are there.
func builtLayers() (lines []string, packages []string) {
	for _, l := range layers {
		l = slices.DeleteFunc(slices.Clone(l), func(pkg string) bool {
			_, err := os.Stat(pkg)
			return err != nil
		})
		lines = append(lines, strings.Join(l, "   "))
		packages = append(packages, l...)
	}
	return lines, packages
}

// ARCHITECTURE.md shows the layers that the test of the layout enforces.
func TestArchitectureShowsTheLayers(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Layers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for line := range strings.Lines(section) {
		if line, ok := strings.CutPrefix(line, "    "); ok {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want, _ := builtLayers()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every package but commands says what it is in a doc.go.
func TestEveryPackageHasDoc(t *testing.T) {
	_, packages := builtLayers()
	for _, pkg := range packages {
		f, err := parser.ParseFile(token.NewFileSet(), path.Join(pkg, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		switch {
		case os.IsNotExist(err):
			if _, err := os.Stat(path.Join(pkg, "main.go")); err != nil {
				t.Errorf("%s has no doc.go", pkg)
			}
		case err != nil:
			t.Error(err)
		case !strings.HasPrefix(f.Doc.Text(), "Package "+f.Name.Name+" "):
			t.Errorf("%s/doc.go does not begin with what package %s is", pkg, f.Name.Name)
		}
	}
}

// The files and methods that the documents name are there.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	methods := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func \((?:\w+ )?\*?(\w+)\) (\w+)\(`)
	files := regexp.MustCompile("`([a-z0-9_./]+\\.(?:go|md))`")
	method := regexp.MustCompile("`\\(\\*(?:[a-z]+\\.)?([A-Za-z]+)\\)\\.([A-Za-z]+)`")
	_, packages := builtLayers()
	for _, pkg := range packages {
		entries, err := os.ReadDir(pkg)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			text, err := os.ReadFile(path.Join(pkg, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllSubmatch(text, -1) {
				methods[string(m[1])+"."+string(m[2])] = true
			}
		}
	}
	// Names that stand for a file in any package.
	anywhere := []string{"doc.go", "seccomp.go", "ptrace.go", "vcpu.go", "posted.go", "sealed.go", "traced.go"}
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "RATIONALE.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range files.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if _, err := os.Stat(name); err != nil && !slices.Contains(anywhere, name) {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
		for _, m := range method.FindAllSubmatch(text, -1) {
			if name := string(m[1]) + "." + string(m[2]); !methods[name] {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
	}
}
