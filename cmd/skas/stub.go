package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/internal/probe"
	"goskas/skas"

	"github.com/spf13/cobra"
	"golang.org/x/arch/x86/x86asm"
)

func newStub() *cobra.Command {
	c := &cobra.Command{
		Use:   "stub",
		Short: "show the code that stubs run and the filter that holds them",
		Example: `  skas stub disasm                   # the stub's code page, annotated
  skas stub filter --guard validate  # the seccomp filter, with its labels`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newStubPart("disasm", "print the stub's code page", func(w io.Writer, in skas.Inspection) error {
			return disassemble(w, in.Stub, in.Layout)
		}),
		newStubPart("filter", "print the stub's seccomp filter", func(w io.Writer, in skas.Inspection) error {
			_, err := io.WriteString(w, in.Filter)
			return err
		}),
	)
	return c
}

// newStubPart is a command that shows a part of a guard's stubs. A guard that is
// named need not work on this host.
func newStubPart(name, short string, show func(io.Writer, skas.Inspection) error) *cobra.Command {
	var guardName string
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			has := onThisHost
			if guardName != autoGuard {
				has = func(probe.Feature) error { return nil }
			}
			g, err := chooseGuard(guardName, false, has)
			if err != nil {
				return err
			}
			in, err := skas.Inspect(amd64.New(), g.guard)
			if err == nil {
				err = show(c.OutOrStdout(), in)
			}
			if err != nil {
				return &exitError{exitSelf, err}
			}
			return nil
		},
	}
	addGuardFlag(c, &guardName)
	return c
}

func disassemble(w io.Writer, s *arch.Stub, l arch.StubLayout) error {
	labels := make(map[uint64]string)
	for _, at := range s.Labels {
		labels[at.Offset] = at.Name
	}
	symbol := func(addr uint64) (string, uint64) {
		if name, ok := labels[addr-uint64(l.Code)]; ok {
			return name, addr
		}
		return "", 0
	}
	for off := 0; off < len(s.Code); {
		if name, ok := labels[uint64(off)]; ok {
			fmt.Fprintf(w, "%s:\n", name)
		}
		pc := uint64(l.Code) + uint64(off)
		inst, err := x86asm.Decode(s.Code[off:], 64)
		if err != nil {
			return fmt.Errorf("stub code at offset %#x: %w", off, err)
		}
		if _, err := fmt.Fprintf(w, "  %x  %-22s %s\n", pc, hex.EncodeToString(s.Code[off:off+inst.Len]),
			x86asm.GNUSyntax(inst, pc, symbol)); err != nil {
			return err
		}
		off += inst.Len
	}
	return nil
}
