package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goskas/internal/probe"
)

func TestClaim(t *testing.T) {
	at := func(major, minor int) func() (probe.Version, error) {
		return func() (probe.Version, error) { return probe.Version{Major: major, Minor: minor}, nil }
	}
	f := probe.Feature{Name: "magic", Since: probe.Version{Major: 5, Minor: 9}}
	varies := f
	varies.Varies = true
	no := &probe.UnsupportedError{Feature: f, Cause: errors.New("no")}
	for _, c := range []struct {
		name   string
		f      probe.Feature
		err    error
		kernel func() (probe.Version, error)
		ok     bool
	}{
		{"old kernel", f, no, at(5, 8), true},
		{"new enough", f, no, at(5, 9), false},
		{"newer", f, no, at(6, 0), false},
		{"the CPU decides", varies, no, at(6, 0), true},
		{"could not tell", f, errors.New("no descriptors"), at(5, 8), false},
		{"could not tell, varies", varies, errors.New("no descriptors"), at(5, 8), false},
		{"unknown kernel", f, no, func() (probe.Version, error) { return probe.Version{}, errors.New("what") }, false},
	} {
		if err := claim(c.f, c.err, c.kernel); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// fake records how a test ends; Fatal and Skip end it as the real ones do.
type fake struct {
	testing.TB
	ended string
}

func (f *fake) Helper()      {}
func (f *fake) Name() string { return "TestFake" }
func (f *fake) end(how string, args ...any) {
	f.ended = how + fmt.Sprint(args...)
	panic(f)
}
func (f *fake) Fatal(args ...any)            { f.end("fatal: ", args...) }
func (f *fake) Fatalf(s string, args ...any) { f.end("fatal: ", fmt.Sprintf(s, args...)) }
func (f *fake) Skip(args ...any)             { f.end("skip: ", args...) }
func (f *fake) Errorf(s string, args ...any) { f.ended = "error: " + fmt.Sprintf(s, args...) }

// run says how test ends.
func run(test func(t testing.TB)) string {
	f := new(fake)
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(f) {
				panic(p)
			}
		}()
		test(f)
	}()
	return f.ended
}

func TestCommandMissing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "skips")
	t.Setenv("SKAS_SKIPS", list)
	missing := func(t testing.TB) { Command(t, "no-such-program") }
	t.Setenv("SKAS_REQUIRE", "")
	if got := run(missing); !strings.HasPrefix(got, "skip: ") || !strings.Contains(got, "no-such-program") {
		t.Errorf("%q", got)
	}
	t.Setenv("SKAS_REQUIRE", "all")
	if got := run(missing); !strings.HasPrefix(got, "fatal: ") || !strings.Contains(got, "SKAS_REQUIRE=all") {
		t.Errorf("%q", got)
	}
	skips, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(skips), "TestFake: "); n != 2 {
		t.Errorf("%d skips in the list:\n%s", n, skips)
	}
	if got := run(func(t testing.TB) { Command(t, "sh") }); got != "" {
		t.Errorf("sh: %q", got)
	}
}

func TestGolden(t *testing.T) {
	defer func(was bool) { *update = was }(*update)
	*update = false
	path := filepath.Join(t.TempDir(), "golden")
	golden := func(got string) string { return run(func(t testing.TB) { Golden(t, path, got) }) }
	if got := golden("a\n"); !strings.HasPrefix(got, "fatal: ") {
		t.Errorf("no file: %q", got)
	}
	if err := os.WriteFile(path, []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := []string{golden("a\n"), golden("b\n")}
	*update = true
	got = append(got, golden("b\n"))
	*update = false
	got = append(got, golden("b\n"))
	if got[0] != "" || !strings.HasPrefix(got[1], "error: ") || got[2] != "" || got[3] != "" {
		t.Errorf("%q", got)
	}
}

func TestGoldenSection(t *testing.T) {
	defer func(was bool) { *update = was }(*update)
	*update = false
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("one\n<!-- x -->\ntwo\n<!-- end of x -->\nthree\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	section := func(name, got string) string {
		return run(func(t testing.TB) { GoldenSection(t, path, name, got) })
	}
	got := []string{section("y", ""), section("x", "two\n"), section("x", "2\n")}
	*update = true
	got = append(got, section("x", "2\n"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got[0], "fatal: ") || got[1] != "" || !strings.HasPrefix(got[2], "error: ") || got[3] != "" ||
		string(text) != "one\n<!-- x -->\n2\n<!-- end of x -->\nthree\n" {
		t.Errorf("%q, then %q", got, text)
	}
}
