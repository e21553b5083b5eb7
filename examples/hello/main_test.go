package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKernelHello(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	want := "fault: -w- access at 0x20000\nsyscall 42 with argument 7\nsignal 4: the end\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
