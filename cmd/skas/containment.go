package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"goskas/containment"
	"goskas/guard"
	"goskas/skas"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newContainment() *cobra.Command {
	var guards []string
	var pattern, stall string
	var json, markdown, trace bool
	c := &cobra.Command{
		Use:   "containment",
		Short: "try misbehaving guest programs against the guards",
		Long: `Run the containment suite: each case is a guest program that breaks out of its
stub's rules, in a real stub, with secrets planted where it has no business. The
table says what became of each under each guard:

  breached  a witness shows it: a secret was read, a byte changed, a run hung
  denied    nothing of that, and the stub goes on
  killed    nothing of that, and the stub is dead
  skipped   the case makes no sense for this guard's stub

Exit status: 0 if every result is the expected one, 1 if not, 2 for a mistake on
the command line, 125 if the suite failed.`,
		Example: `  skas containment
  skas containment --guard validate --case '^map-' --trace
  skas containment fuzz --for 10m`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if markdown {
				_, err := io.WriteString(c.OutOrStdout(), containment.Markdown(guards))
				return err
			}
			o, err := containmentOptions(guards, pattern, stall)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if trace {
				o.Trace = c.ErrOrStderr()
			}
			o.Progress = containmentProgress(c.ErrOrStderr(), trace)
			m := containment.Run(o)
			print := m.Write
			if json {
				print = m.WriteJSON
			}
			if err := print(c.OutOrStdout()); err != nil {
				return &exitError{exitSelf, err}
			}
			if !m.OK() {
				return &exitError{status: 1}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringSliceVar(&guards, "guard", containment.Guards(), "`GUARDS` to try, separated by commas")
	f.StringVar(&pattern, "case", "", "cases to try: those whose names match `REGEXP`")
	f.StringVar(&stall, "stall", skas.StallDefault.String(), "`POLICY` for stubs that do not report a tick: "+strings.Join(skas.Stalls(), ", ")+"; the expectations are for the default")
	f.BoolVar(&json, "json", false, "print JSON")
	f.BoolVar(&markdown, "markdown", false, "print the expectations as Markdown, and run nothing")
	f.BoolVar(&trace, "trace", false, "print the programs' events to standard error")
	c.AddCommand(newContainmentFuzz())
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	must(c.RegisterFlagCompletionFunc("guard", cobra.FixedCompletions(guard.Names(), cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("stall", cobra.FixedCompletions(skas.Stalls(), cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func newContainmentFuzz() *cobra.Command {
	var o containment.FuzzOptions
	var name string
	c := &cobra.Command{
		Use:   "fuzz",
		Short: "try random programs against a guard",
		Long: `Use up stubs, each with a program that writes random values into the pages that
it shares with the monitor, and jumps to random places in the stub's code with
random registers. Secrets are planted as in the suite. It ends at the first
breach, with the command line that repeats it, and exit status 1.`,
		Example: `  skas containment fuzz --for 10m
  skas containment fuzz --seed 4711 --stubs 1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Guard, err = guard.Parse(name); err != nil {
				return &exitError{exitUsage, fmt.Errorf("--guard: %v", err)}
			}
			if o.Stubs < 0 || o.For < 0 || o.Stubs == 0 && o.For == 0 {
				return &exitError{exitUsage, fmt.Errorf("--stubs %d, --for %v: say how much, by one of them", o.Stubs, o.For)}
			}
			if o.Seed == 0 {
				o.Seed = uint64(time.Now().UnixNano())
			}
			if w := c.ErrOrStderr(); isTerminal(w) {
				o.Progress = func(n int) { fmt.Fprintf(w, "%d stubs\n", n) }
			}
			r, err := containment.Fuzz(o)
			if err != nil {
				return &exitError{exitSelf, err}
			}
			fmt.Fprintf(c.OutOrStdout(), "from seed %d on: %v\n", o.Seed, r)
			if len(r.Breaches) > 0 {
				return &exitError{status: 1}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&name, "guard", guard.Sealed.String(), "the guard: "+strings.Join(guard.Names(), ", "))
	f.Uint64Var(&o.Seed, "seed", 0, "seed of the first stub (0: the time)")
	f.IntVar(&o.Stubs, "stubs", 0, "how many stubs to use up (0: as many as there is time for)")
	f.DurationVar(&o.For, "for", time.Minute, "how long (0: until the stubs are used up)")
	must(c.RegisterFlagCompletionFunc("guard", cobra.FixedCompletions(guard.Names(), cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

func containmentOptions(guards []string, pattern, stall string) (o containment.Options, err error) {
	for _, name := range guards {
		g, err := guard.Parse(name)
		if err != nil {
			return o, fmt.Errorf("--guard: %v", err)
		}
		o.Guards = append(o.Guards, g)
	}
	if o.Stall, err = skas.ParseStall(stall); err != nil {
		return o, fmt.Errorf("--stall: %v", err)
	}
	match, err := regexp.Compile(pattern)
	if err != nil {
		return o, fmt.Errorf("--case: %v", err)
	}
	o.Match = match.MatchString
	for _, c := range containment.Cases() {
		if o.Match(c.Name) {
			return o, nil
		}
	}
	return o, fmt.Errorf("--case %s: no case has such a name; --markdown lists them", pattern)
}

// containmentProgress shows a terminal what is being tried, and a trace what has
// been.
func containmentProgress(w io.Writer, trace bool) func(containment.Result) {
	if !isTerminal(w) && !trace {
		return nil
	}
	return func(r containment.Result) {
		fmt.Fprintf(w, "%s under %s: %s in %v: %s%s\n", r.Case, r.Guard, r.Verdict, r.Elapsed.Round(time.Millisecond), r.Why, r.Err)
	}
}
