package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goskas/internal/testkit"
)

// command runs a command line.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = execute(t.Context(), args, &out, &err)
	return status, out.String(), err.String()
}

// shape is a JSON value with the figures and the names of the host taken out.
func shape(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if k == "host" {
				for name := range e.(map[string]any) {
					e.(map[string]any)[name] = "any"
				}
				continue
			}
			x[k] = shape(e)
		}
	case []any:
		for i, e := range x {
			x[i] = shape(e)
		}
	case float64:
		return "number"
	}
	return v
}

func TestGuestBenchJSON(t *testing.T) {
	for _, c := range []struct{ golden, args string }{
		{"bench.json", "bench futex getppid map --pin on"},
		{"bench-mmap.json", "bench mmap --pin off --guards none,validate"},
	} {
		args := append(strings.Fields(c.args), "--json", "--rounds", "3", "--repeats", "2")
		status, stdout, stderr := command(t, args...)
		if status != 0 || stderr != "" {
			t.Fatalf("%s: status %d, %q", c.args, status, stderr)
		}
		var v any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(shape(v), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		testkit.Golden(t, filepath.Join("testdata", c.golden), string(got))
	}
}

func TestGuestBenchMmapTable(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "plot.svg")
	status, stdout, stderr := command(t, "bench", "mmap", "--rounds", "2", "--repeats", "1", "--svg", svg)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %q", status, stderr)
	}
	for _, want := range []string{"Everything on CPU ", "Not pinned", "munmap() with validate and with none -- ns/call", "posted: WITH med", "\n1M "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if b, err := os.ReadFile(svg); err != nil || !bytes.HasPrefix(b, []byte("<svg ")) {
		t.Errorf("the plot: %v, %.40q", err, b)
	}
}

func TestBenchBadInput(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"bench nosuch", `invalid argument "nosuch"`},
		{"bench --guards x", "--guards x: give some of none, notify, "},
		{"bench --guards none,none", "--guards: none is there twice"},
		{"bench --guards=", "--guards: give some of none, "},
		{"bench --pin maybe", "--pin maybe: say on, off or both"},
		{"bench --rounds -1", "give positive numbers"},
		{"bench --repeats 0", "give positive numbers"},
		{"bench --json --markdown", "json markdown"},
		{"bench peers nosuch", `invalid argument "nosuch"`},
		{"bench peers --guards x", "--guards x: give some of none, notify, "},
		{"bench peers --save /dev/null/x getppid", "--save: mkdir /dev/null: not a directory"},
		{"bench mmap 4K", `unknown command "4K"`},
		{"bench mmap --svg /nonexistent/x.svg", "no such file or directory"},
	} {
		status, stdout, stderr := command(t, strings.Fields(c.args)...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %q in it", c.args, status, stdout, stderr, c.want)
		}
	}
}
