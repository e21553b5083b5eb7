package abi_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"goskas/internal/abi"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

// constants are all constants of the package, by name, from its source: none
// can be left out of the comparison.
func constants(t *testing.T) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	config := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	pkg, err := config.Check("abi", fset, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok {
			values[name] = constant.ToInt(c.Val()).ExactString()
		}
	}
	return values
}

// layout adds a struct's size and the offsets of its fields.
func layout(values map[string]string, v any) {
	typ := reflect.TypeOf(v)
	values[typ.Name()] = fmt.Sprint(typ.Size())
	for i := range typ.NumField() {
		if f := typ.Field(i); f.Name != "_" {
			values[typ.Name()+"."+f.Name] = fmt.Sprint(f.Offset)
		}
	}
}

func TestValuesAgainstHeaders(t *testing.T) {
	program := filepath.Join(t.TempDir(), "abi")
	compile := exec.Command(testkit.Command(t, "gcc"), "-Wall", "-Werror", "-o", program, filepath.Join("testdata", "abi.c"))
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", compile, err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[name] = value
	}
	got := constants(t)
	for _, v := range []any{abi.SeccompData{}, abi.SeccompNotif{}, abi.SeccompNotifResp{}} {
		layout(got, v)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-) and package abi (+):\n%s", diff)
	}
}
