package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/internal/probe"
	"goskas/physmem"
	"goskas/skas"

	"github.com/spf13/cobra"
)

// exitMissing is the status of check on a host that cannot boot guests.
const exitMissing = 1

// boot is what needs the features without which nothing works; what else needs
// a feature is named in the table below.
const boot = "boot"

// requirement is a row of the check: who needs what.
type requirement struct {
	by    string
	name  string
	since probe.Version
	// advice is what to do where it is missing.
	advice string
	probe  func() (note string, err error)
}

func need(by string, features ...probe.Feature) (rows []requirement) {
	for _, f := range features {
		rows = append(rows, requirement{by, f.Name, f.Since, f.Advice, f.Probe})
	}
	return rows
}

// requirements are the rows of the check, in the order in which they are
// printed.
func requirements() []requirement {
	var all []requirement
	for _, rows := range [][]requirement{
		need(boot, probe.MemfdExec, probe.SeccompTrap, probe.SeccompTSync, probe.CloseRange, probe.Futex,
			probe.Pidfds, probe.Openat2, probe.Limits),
		{{by: boot, name: stubStarts, probe: startStub,
			advice: "see to the rows above; if they all say yes, this is worth a bug report"}},
		need("speed", probe.Pinning),
		need("guards notify, validate", guard.Validate.Needs...), // notify's are the same
		need("guards notify, validate (speed)", guard.Validate.Wants...),
		need("guard sealed", guard.Sealed.Needs...),
		need("guard bpf", probe.EBPF),
		need("mode ptrace", probe.PtraceSysemu),
		need("386 guests", probe.IA32),
	} {
		all = append(all, rows...)
	}
	return all
}

const stubStarts = "a stub starts"

// startStub is the test of everything at once.
func startStub() (note string, err error) {
	if note, err = startAndStop(); err != nil {
		return "", &probe.UnsupportedError{Feature: probe.Feature{Name: stubStarts}, Cause: err}
	}
	return note, nil
}

// startAndStop makes an empty address space with its stub and takes it down.
func startAndStop() (note string, err error) {
	mem, err := physmem.New(physmem.MinSize)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, mem.Close()) }()
	mon, err := skas.New(skas.Config{Memory: mem, Arch: amd64.New()})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, mon.Close()) }()
	if _, err := mon.NewMM(); err != nil {
		return "", err
	}
	return fmt.Sprintf("at %#x", uint64(mon.Layout().Code)), nil
}

// finding is the answer to one requirement.
type finding struct {
	Feature  string `json:"feature"`
	NeededBy string `json:"needed_by"`
	State    string `json:"state"` // yes, no, or unknown: the test could not tell
	Since    string `json:"since,omitempty"`
	Note     string `json:"note,omitempty"`
	Advice   string `json:"advice,omitempty"` // unless the state is yes
}

// findings is everything that check finds.
type findings struct {
	Kernel   string    `json:"kernel"`
	Boot     bool      `json:"boot"`
	Features []finding `json:"features"`
}

func examine(kernel string, rows []requirement) findings {
	r := findings{Kernel: kernel, Boot: true}
	for _, q := range rows {
		f := finding{Feature: q.name, NeededBy: q.by, State: "yes"}
		if q.since != (probe.Version{}) {
			f.Since = q.since.String()
		}
		note, err := q.probe()
		f.Note = note
		if err != nil {
			f.State, f.Note, f.Advice = "unknown", err.Error(), q.advice
			var unsupported *probe.UnsupportedError
			if errors.As(err, &unsupported) {
				f.State, f.Note = "no", unsupported.Cause.Error()
			}
			r.Boot = r.Boot && q.by != boot
		}
		r.Features = append(r.Features, f)
	}
	return r
}

func (r findings) print(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FEATURE\tNEEDED BY\tHERE\tSINCE LINUX\tNOTE")
	for _, f := range r.Features {
		since := f.Since
		if since == "" {
			since = "-"
		}
		note := f.Note
		if f.Advice != "" {
			note += ": " + f.Advice
		}
		fmt.Fprintln(tw, strings.Join([]string{f.Feature, f.NeededBy, f.State, since, note}, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	verdict := "can boot guests"
	if !r.Boot {
		verdict = "cannot boot guests: see what the rows needed by boot advise"
	}
	fmt.Fprintf(&table, "\nThis host (Linux %s) %s.\n", r.Kernel, verdict)
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func newCheck() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "find out what this host can and cannot do",
		Long: `Try each host feature that skas can use, and say whether it is there, what needs
it, since which kernel it exists, and what to do where it is missing.

Exit status: 0 if everything is there that booting a guest needs, else 1.`,
		Example: `  skas check
  skas check --json | jq '.features[] | select(.state != "yes")'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			kernel, err := probe.Kernel()
			if err != nil {
				return &exitError{exitSelf, err}
			}
			r := examine(kernel.String(), requirements())
			if err := r.print(c.OutOrStdout(), asJSON); err != nil {
				return &exitError{exitSelf, err}
			}
			if !r.Boot {
				return &exitError{status: exitMissing}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
