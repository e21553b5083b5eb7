package amd64

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/arch/x86/x86asm"
)

func testLayout() arch.StubLayout {
	return arch.StubLayout{Code: 0x7fffffffc000, Data: 0x7fffffffd000, DataPages: 2}
}

// listing disassembles code as hex and text, one instruction a line.
func listing(code []byte, base uint64, labels []arch.Label) string {
	var b strings.Builder
	for off := 0; off < len(code); {
		for _, l := range labels {
			if l.Offset == uint64(off) {
				fmt.Fprintf(&b, "%s:\n", l.Name)
			}
		}
		inst, err := x86asm.Decode(code[off:], 64)
		if err != nil {
			fmt.Fprintf(&b, "  %04x  %-24s (data)\n", off, hex.EncodeToString(code[off:]))
			break
		}
		fmt.Fprintf(&b, "  %04x  %-24s %s\n", off, hex.EncodeToString(code[off:off+inst.Len]),
			x86asm.GNUSyntax(inst, base+uint64(off), nil))
		off += inst.Len
	}
	return b.String()
}

// The stub's bytes show in review as changed instructions.
func TestStubGolden(t *testing.T) {
	s, err := New().Stub(testLayout(), false)
	if err != nil {
		t.Fatal(err)
	}
	got := listing(s.Code, uint64(testLayout().Code), s.Labels)
	testkit.Golden(t, filepath.Join("testdata", "stub.golden"), got)
}

// The start-up programs, with and without a listener: what follows the code is
// the stub's name and room for the filter.
func TestProgramGolden(t *testing.T) {
	for name, listener := range map[string]bool{"program.golden": false, "program-listener.golden": true} {
		s, err := New().Stub(testLayout(), listener)
		if err != nil {
			t.Fatal(err)
		}
		end := bytes.Index(s.Program, []byte(StubName+"\x00"))
		if end < 0 {
			t.Fatal("the program does not hold its name")
		}
		got := listing(s.Program[:end], uint64(s.Base), nil) + fmt.Sprintf("  %04x  %q\n", end, s.Program[end:])
		testkit.Golden(t, filepath.Join("testdata", name), got)
	}
}

// So do the sealed stub's, in both of its forms, and its start-up program. The
// size of the extended state is that of AVX-512, whatever this host has.
func TestSealedStubGolden(t *testing.T) {
	for _, f := range sealedForms(t) {
		if f.arch.xsize != 2688 {
			continue
		}
		name := "sealed-call"
		if f.arch.fsgsbase {
			name = "sealed-bases"
		}
		testkit.Golden(t, filepath.Join("testdata", name+".golden"), listing(f.stub.Code, uint64(f.layout.Code), f.stub.Labels))
		if f.arch.fsgsbase {
			continue // the program differs in an address alone
		}
		testkit.Golden(t, filepath.Join("testdata", "sealed-program.golden"), listing(f.stub.Program, uint64(f.stub.Base), nil))
		testkit.Golden(t, filepath.Join("testdata", "sealed-template.golden"), listing(f.stub.Template, uint64(f.layout.Template()), f.stub.TemplateLabels))
	}
}

// Every byte of the code page is an instruction that was meant: the decoder
// walks it from end to end, and system calls stand only where declared.
func TestStubSyscallSites(t *testing.T) {
	s, err := New().Stub(testLayout(), false)
	if err != nil {
		t.Fatal(err)
	}
	var sites []string
	label := ""
	for off := 0; off < len(s.Code); {
		for _, l := range s.Labels {
			if l.Offset == uint64(off) {
				label = l.Name
			}
		}
		inst, err := x86asm.Decode(s.Code[off:], 64)
		if err != nil {
			t.Fatalf("offset %#x: %v", off, err)
		}
		if inst.Op == x86asm.SYSCALL {
			sites = append(sites, label)
		}
		off += inst.Len
	}
	want := []string{"wake", "wait", "receive", "mmap", "munmap", "close", "resume", "fs-loaded", "restorer"}
	if diff := cmp.Diff(want, sites); diff != "" {
		t.Error(diff)
	}
}
