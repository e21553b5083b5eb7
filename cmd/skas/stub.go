package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/skas"
	"goskas/stubexe"

	"github.com/spf13/cobra"
	"golang.org/x/arch/x86/x86asm"
)

func newStub() *cobra.Command {
	c := &cobra.Command{
		Use:   "stub",
		Short: "show the code that stubs run and the filter that holds them",
		Example: `  skas stub disasm   # the stub's code page, annotated
  skas stub filter   # the seccomp filter, with its labels`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "disasm",
		Short: "print the stub's code page",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a := amd64.New()
			l, err := skas.Layout(a)
			if err != nil {
				return &exitError{exitSelf, err}
			}
			s, err := a.Stub(l, false)
			if err != nil {
				return &exitError{exitSelf, err}
			}
			return disassemble(c.OutOrStdout(), s, l)
		},
	}, &cobra.Command{
		Use:   "filter",
		Short: "print the stub's seccomp filter",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a := amd64.New()
			l, err := skas.Layout(a)
			if err != nil {
				return &exitError{exitSelf, err}
			}
			text, err := stubexe.FilterText(l.Code, a.AuditArch())
			if err != nil {
				return &exitError{exitSelf, err}
			}
			_, err = io.WriteString(c.OutOrStdout(), text)
			return err
		},
	})
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
			return &exitError{exitSelf, fmt.Errorf("stub code at offset %#x: %w", off, err)}
		}
		if _, err := fmt.Fprintf(w, "  %x  %-22s %s\n", pc, hex.EncodeToString(s.Code[off:off+inst.Len]),
			x86asm.GNUSyntax(inst, pc, symbol)); err != nil {
			return err
		}
		off += inst.Len
	}
	return nil
}
