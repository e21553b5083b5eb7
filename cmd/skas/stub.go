package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/internal/probe"
	"goskas/skas"

	"github.com/spf13/cobra"
	"golang.org/x/arch/x86/x86asm"
)

func newStub() *cobra.Command {
	c := &cobra.Command{
		Use:   "stub",
		Short: "show the code that stubs run and the filter that holds them",
		Long: `Show what the stubs of a guard are made of, without starting one: the page of
code that stays in a stub for its life, the seccomp filter, and for guard sealed
the proof that the code keeps that guard's rules. The guard need not work here.`,
		Example: `  skas stub disasm                   # the stub's code page, annotated
  skas stub filter --guard validate  # the seccomp filter, with its labels
  skas stub verify                   # the proof of the sealed stub's code`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(
		newStubPart("disasm", "print the stub's code page", func(w io.Writer, in skas.Inspection) error {
			if len(in.Stub.Template) > 0 {
				if _, err := fmt.Fprintln(w, "; of the template alone, which sealed stubs are copies of"); err != nil {
					return err
				}
				if err := disassemble(w, in.Layout.Template(), in.Stub.Template, in.Stub.TemplateLabels, in.Layout); err != nil {
					return err
				}
				if _, err := fmt.Fprintln(w, "; of every stub"); err != nil {
					return err
				}
			}
			return disassemble(w, in.Layout.Code, in.Stub.Code, in.Stub.Labels, in.Layout)
		}),
		newStubPart("filter", "print the stub's seccomp filter", func(w io.Writer, in skas.Inspection) error {
			_, err := io.WriteString(w, in.Filter)
			return err
		}),
		newStubVerify(),
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

// newStubVerify proves the sealed stub's code, in the form that this host runs
// and in the other: hosts differ in who may set segment bases.
func newStubVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "prove from the sealed stub's bytes that it keeps the rules of its guard",
		Long: `Verify takes the code page of the sealed guard's stub apart, runs it on symbolic
values from every place at which it can be entered, and asks the filter about
every byte at which a system call instruction could hide. It prints what was
checked.

Exit status: 0 if all of it holds, 1 if not, 125 if the proof failed.`,
		Example: `  skas stub verify`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			host := amd64.New()
			found := 0
			for _, f := range []struct {
				name string
				arch *amd64.Arch
			}{
				{"segment bases by system call", host.WithBases(false)},
				{"segment bases by instruction (FSGSBASE)", host.WithBases(true)},
			} {
				in, err := skas.Inspect(f.arch, guard.Sealed)
				if err != nil {
					return &exitError{exitSelf, err}
				}
				n, err := printProof(c.OutOrStdout(), f.name, f.arch.Verify(in.Stub, in.Layout, in.Insns))
				if err != nil {
					return &exitError{exitSelf, err}
				}
				found += n
			}
			if found > 0 {
				return &exitError{1, fmt.Errorf("the sealed stub breaks its rules: %d findings", found)}
			}
			return nil
		},
	}
}

// printProof returns the number of findings.
func printProof(w io.Writer, form string, p amd64.Proof) (int, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", form)
	for _, line := range p.Checked {
		fmt.Fprintf(&b, "  ok  %s\n", line)
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "  BAD %v\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return len(p.Findings), err
}

// disassemble prints the code of a page of the stub's.
func disassemble(w io.Writer, page arch.Addr, code []byte, marks []arch.Label, l arch.StubLayout) error {
	labels := make(map[uint64][]string)
	for _, at := range marks {
		labels[at.Offset] = append(labels[at.Offset], at.Name)
	}
	symbol := func(addr uint64) (string, uint64) {
		if names := labels[addr-uint64(page)]; len(names) > 0 {
			return names[0], addr
		}
		return "", 0
	}
	for off := 0; off < len(code); {
		for _, name := range labels[uint64(off)] {
			fmt.Fprintf(w, "%s:\n", name)
		}
		pc := uint64(page) + uint64(off)
		inst, err := x86asm.Decode(code[off:], 64)
		if err != nil {
			return fmt.Errorf("stub code at offset %#x: %w", off, err)
		}
		line := fmt.Sprintf("  %x  %-22s %s", pc, hex.EncodeToString(code[off:off+inst.Len]), x86asm.GNUSyntax(inst, pc, symbol))
		if place := place(inst, pc, l); place != "" {
			line = fmt.Sprintf("%-74s # %s", line, place)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
		off += inst.Len
	}
	return nil
}

// place names the page of the sealed stub that an instruction's operand lies in.
func place(in x86asm.Inst, pc uint64, l arch.StubLayout) string {
	for _, a := range in.Args {
		m, ok := a.(x86asm.Mem)
		if !ok || m.Base != x86asm.RIP || l.Control == 0 {
			continue
		}
		addr := arch.Addr(pc + uint64(in.Len) + uint64(int32(m.Disp)))
		switch {
		case addr >= l.Stack:
			return fmt.Sprintf("signal stack + %#x", uint64(addr-l.Stack))
		case addr >= l.Data:
			return fmt.Sprintf("data + %#x", uint64(addr-l.Data))
		case addr >= l.Control:
			return fmt.Sprintf("control + %#x", uint64(addr-l.Control))
		}
	}
	return ""
}
