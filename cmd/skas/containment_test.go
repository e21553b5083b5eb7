package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"goskas/containment"
)

func TestKernelContainmentCommand(t *testing.T) {
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := execute(t.Context(), append([]string{"containment"}, args...), &out, &errs)
		return status, out.String(), errs.String()
	}
	status, out, errs := run("--guard", "none,validate", "--case", "^map-foreign-write$", "--json")
	var m containment.Matrix
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	if status != 0 || errs != "" || len(m.Results) != 2 || m.Results[0].Verdict != containment.Breached || m.Results[1].Verdict != containment.Denied {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	// Without a stall policy nobody ends a stub that blocks its ticks.
	status, out, _ = run("--guard", "validate", "--case", "^block-tick-spin$", "--stall", "off")
	if status != 1 || !strings.Contains(out, "breached!") || !strings.Contains(out, "--case '^block-tick-spin$'") {
		t.Errorf("status %d\n%s", status, out)
	}
	for _, bad := range [][]string{{"--guard", "nobody"}, {"--case", "no such case"}, {"--case", "("}, {"--stall", "x"}} {
		if status, out, errs := run(bad...); status != exitUsage || out != "" || !strings.HasPrefix(errs, "skas: "+bad[0]) {
			t.Errorf("%q: status %d\n%s%s", bad, status, out, errs)
		}
	}
	status, out, errs = run("fuzz", "--guard", "sealed", "--seed", "7", "--stubs", "3", "--for", "0")
	if status != 0 || errs != "" || !strings.HasPrefix(out, "from seed 7 on: 3 stubs used up") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	for _, bad := range [][]string{{"fuzz", "--guard", "nobody"}, {"fuzz", "--for", "0"}, {"fuzz", "--stubs", "-1"}} {
		if status, _, errs := run(bad...); status != exitUsage || !strings.HasPrefix(errs, "skas: --") {
			t.Errorf("%q: status %d\n%s", bad, status, errs)
		}
	}
}
