package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"goskas/guest"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

func TestSyscallsCommand(t *testing.T) {
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := execute(t.Context(), append([]string{"syscalls"}, args...), &out, &errs)
		return status, out.String(), errs.String()
	}
	want := guest.Syscalls()
	status, out, errs := run("--json")
	var got []guest.Support
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); status != 0 || errs != "" || diff != "" {
		t.Errorf("status %d: %s%s", status, errs, diff)
	}
	status, out, _ = run()
	if lines := strings.Count(out, "\n"); status != 0 || lines != len(want)+1 || !strings.Contains(out, "clone3 ") {
		t.Errorf("status %d, %d lines for %d calls", status, lines, len(want))
	}
	if status, _, errs := run("--json", "--markdown"); status != exitUsage || !strings.Contains(errs, "json") {
		t.Errorf("both formats: status %d, %s", status, errs)
	}
}

// The README lists what there is.
func TestReadmeSyscalls(t *testing.T) {
	testkit.GoldenSection(t, "../../README.md", "syscalls", syscallsMarkdown(guest.Syscalls()))
}
