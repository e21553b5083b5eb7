package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"goskas/internal/probe"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// answers gives a requirement with a certain answer.
func answers(by, name string, note string, err error) requirement {
	return requirement{by, name, probe.Version{Major: 5, Minor: 9}, "do this about " + name,
		func() (string, error) { return note, err }}
}

func lacking(cause error) error {
	return &probe.UnsupportedError{Feature: probe.Feature{Name: "it", Since: probe.Version{Major: 5, Minor: 9}}, Cause: cause}
}

func TestCheckFindings(t *testing.T) {
	const other = "guard x"
	for _, c := range []struct {
		name string
		rows []requirement
		boot bool
	}{
		{"all there", []requirement{answers(boot, "a", "", nil), answers(other, "b", "", nil)}, true},
		{"a guard lacks something", []requirement{answers(boot, "a", "", nil), answers(other, "b", "", lacking(unix.ENOSYS))}, true},
		{"boot lacks something", []requirement{answers(boot, "a", "", lacking(unix.ENOSYS)), answers(boot, "b", "", nil)}, false},
		{"boot is not sure", []requirement{answers(boot, "a", "", errors.New("it may rain"))}, false},
	} {
		if got := examine("6.1", c.rows).Boot; got != c.boot {
			t.Errorf("%s: boot %v", c.name, got)
		}
	}
	got := examine("6.1", []requirement{
		answers(boot, "a", "12 of them", nil),
		answers(boot, "b", "", lacking(unix.ENOSYS)),
		answers(other, "c", "", errors.New("it may rain")),
		{by: other, name: "d", probe: func() (string, error) { return "", nil }},
	})
	want := findings{"6.1", false, []finding{
		{"a", boot, "yes", "5.9", "12 of them", ""},
		{"b", boot, "no", "5.9", "function not implemented", "do this about b"},
		{"c", other, "unknown", "5.9", "it may rain", "do this about c"},
		{"d", other, "yes", "", "", ""},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var text, asJSON bytes.Buffer
	if err := errors.Join(got.print(&text, false), got.print(&asJSON, true)); err != nil {
		t.Fatal(err)
	}
	const table = `FEATURE  NEEDED BY  HERE     SINCE LINUX  NOTE
a        boot       yes      5.9          12 of them
b        boot       no       5.9          function not implemented: do this about b
c        guard x    unknown  5.9          it may rain: do this about c
d        guard x    yes      -

This host (Linux 6.1) cannot boot guests: see what the rows needed by boot advise.
`
	if diff := cmp.Diff(table, text.String()); diff != "" {
		t.Error(diff)
	}
	var back findings
	if err := json.Unmarshal(asJSON.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
}

// Every row can be acted on, and none appears twice.
func TestCheckRequirements(t *testing.T) {
	var names []string
	for _, q := range requirements() {
		if q.by == "" || q.advice == "" || q.probe == nil || slices.Contains(names, q.name) {
			t.Errorf("row %q: by %q, advice %q", q.name, q.by, q.advice)
		}
		names = append(names, q.name)
	}
}

// A host that runs the other tests can boot guests, also as an ordinary user.
func TestKernelCheckCommand(t *testing.T) {
	testkit.NoLeaks(t)
	check := func(name string, run func(args ...string) (status int, stdout, stderr string)) {
		status, out, errs := run("check")
		if status != 0 || errs != "" {
			t.Errorf("%s: status %d, %q\n%s", name, status, errs, out)
		}
		contains(t, name, out, "FEATURE", "a stub starts", "boot", "yes", "can boot guests")
		status, out, errs = run("check", "--json")
		var r findings
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 || errs != "" || !r.Boot {
			t.Errorf("%s --json: status %d, %q, %v\n%s", name, status, errs, err, out)
		}
		if status, _, errs = run("check", "everything"); status != exitUsage || errs == "" {
			t.Errorf("%s: an argument gives status %d, %q", name, status, errs)
		}
	}
	check("check", func(args ...string) (int, string, string) { return command(t, args...) })
	if unix.Geteuid() != 0 {
		return // that was an ordinary user
	}
	path := buildCommand(t)
	check("check as nobody", func(args ...string) (int, string, string) {
		c := exec.Command(path, args...)
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Run(); c.ProcessState == nil {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), out.String(), errs.String()
	})
}
