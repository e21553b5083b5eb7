package goskas

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"goskas/guard"

	"github.com/google/go-cmp/cmp"
)

// `make test` leaves no guard out.
func TestMakeTestsEveryGuard(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^GUARDS = (.*)$`).FindSubmatch(makefile)
	if m == nil {
		t.Fatal("no line with GUARDS")
	}
	want := slices.DeleteFunc(guard.Names(), func(name string) bool { return name == guard.Default().String() })
	if diff := cmp.Diff(want, strings.Fields(string(m[1]))); diff != "" {
		t.Error(diff)
	}
}
