package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"goskas/guest"

	"github.com/spf13/cobra"
)

func newSyscalls() *cobra.Command {
	var asJSON, markdown bool
	c := &cobra.Command{
		Use:   "syscalls",
		Short: "list the system calls that guests have, and what is missing of them",
		Long: `List the system calls of guests by number, with how much there is of each:

  full     what Linux does, for the processes that a guest can have
  partial  without what the note says
  none     known, and refused; programs have another way

A call that is not in the list fails with ENOSYS; with --stats, run counts those.`,
		Example: `  skas syscalls
  skas syscalls --json | jq -r '.[] | select(.level == "none") | .name'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			print := printSyscalls
			switch {
			case asJSON:
				print = func(w io.Writer, list []guest.Support) error {
					enc := json.NewEncoder(w)
					enc.SetIndent("", "  ")
					return enc.Encode(list)
				}
			case markdown:
				print = func(w io.Writer, list []guest.Support) error {
					_, err := io.WriteString(w, syscallsMarkdown(list))
					return err
				}
			}
			if err := print(c.OutOrStdout(), guest.Syscalls()); err != nil {
				return &exitError{exitSelf, err}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&markdown, "markdown", false, "print Markdown, as in README.md")
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	return c
}

func printSyscalls(w io.Writer, list []guest.Support) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NUMBER\tNAME\tLEVEL\tNOTE")
	for _, s := range list {
		fmt.Fprintf(tw, "%d\t%s\t%s", s.NR, s.Name, s.Level)
		if s.Note != "" {
			fmt.Fprintf(tw, "\t%s", s.Note)
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// syscallsMarkdown names the complete ones in a paragraph and has a table of the
// others.
func syscallsMarkdown(list []guest.Support) string {
	var complete []string
	var table strings.Builder
	for _, s := range list {
		if s.Note == "" {
			complete = append(complete, s.Name)
			continue
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.Name, s.Level, s.Note)
	}
	return fmt.Sprintf("Of %d system calls, %d are complete: `%s`.\n\nThe others:\n\n| call | level | note |\n| --- | --- | --- |\n%s",
		len(list), len(complete), strings.Join(complete, "`, `"), table.String())
}
