package main

import (
	"strings"
	"testing"
)

func TestDiffBadInput(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"diff", exitUsage, "name one program"},
		{"diff a b", exitUsage, "name one program"},
		{"diff /no/such/program", exitNotFound, "no such file"},
		{"diff --width 3 /bin/true", exitUsage, "--width 3: give a number from 20"},
	} {
		status, stdout, stderr := command(t, strings.Fields(c.args)...)
		if status != c.status || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q; want %d and %q in it", c.args, status, stdout, stderr, c.status, c.want)
		}
	}
}
