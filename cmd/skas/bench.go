package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"

	"goskas/arch/amd64"
	"goskas/bench"
	"goskas/guard"
	"goskas/guest"
	"goskas/skas"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// benchConfigs are the configurations of the machine that can be compared: every
// guard, those with a listener also without its synchronous wake-up, and the mode
// that has no guards.
func benchConfigs() []bench.Config {
	var list []bench.Config
	for _, g := range guard.All() {
		list = append(list, bench.Config{Name: g.String(), Set: func(c *guest.Config) { c.Guard = g }})
		if len(g.Routed) > 0 {
			list = append(list, bench.Config{Name: g.String() + "-nosync", Set: func(c *guest.Config) {
				c.Guard, c.NoSyncWake = g, true
			}})
		}
	}
	return append(list, bench.Config{Name: skas.ModePtrace.String(), Set: func(c *guest.Config) { c.Mode = skas.ModePtrace }})
}

// benchmark holds the flags that every benchmark has.
type benchmark struct {
	rounds, repeats int
	pin             string
	guards          []string
	json, markdown  bool
}

// addFlags adds the flags; guards is what is compared by default.
func (b *benchmark) addFlags(c *cobra.Command, guards ...string) {
	f := c.Flags()
	f.IntVar(&b.rounds, "rounds", 0, "rounds of each operation in a repeat (0: as many as suit it)")
	f.IntVar(&b.repeats, "repeats", 5, "how often to measure everything")
	f.StringVar(&b.pin, "pin", "both", "keep everything on one CPU: on, off, or both, one after the other")
	f.StringSliceVar(&b.guards, "guards", guards, "`GUARDS` to compare, or the mode without any, separated by commas: "+configNames())
	f.BoolVar(&b.json, "json", false, "print JSON")
	f.BoolVar(&b.markdown, "markdown", false, "print Markdown tables")
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	must(c.RegisterFlagCompletionFunc("pin", cobra.FixedCompletions([]string{"on", "off", "both"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("guards", cobra.FixedCompletions(strings.Split(configNames(), ", "), cobra.ShellCompDirectiveNoFileComp)))
}

func configNames() string {
	var names []string
	for _, c := range benchConfigs() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func newBench() *cobra.Command {
	var b benchmark
	var names, about []string
	for _, r := range bench.Rows() {
		names = append(names, r.Name)
		about = append(about, fmt.Sprintf("  %-8s %s", r.Name, r.About))
	}
	c := &cobra.Command{
		Use:   "bench [flags] [ROW...]",
		Short: "measure what operations cost in a guest, beside the host",
		Long: `Run small programs that time one operation again and again, natively and in
guests, in turns, and compare. The rows, all of which are measured if none is
named, but for those that say otherwise:

` + strings.Join(about, "\n") + `

The yardstick is what no system call in a stub can be had without; getppid is
compared with it if both are measured.`,
		Example: `  skas bench
  skas bench --pin on getppid futex
  skas bench --json --repeats 10 >report.json
  skas bench mmap                # mapping calls by size, as posted for UML
  skas bench peers               # beside real User Mode Linux`,
		Args:      cobra.OnlyValidArgs,
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			rows, err := chooseRows(bench.Rows(), args, false)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			r, err := b.run(c, rows, true)
			if err != nil {
				return err
			}
			return b.print(c.OutOrStdout(), r)
		},
	}
	b.addFlags(c, guard.Default().String())
	c.AddCommand(newBenchMmap(), newBenchPeers())
	return c
}

// chooseRows are the named ones of all rows; if none is named, those that need
// nothing of the host, or every one.
func chooseRows(all []*bench.Row, names []string, every bool) ([]*bench.Row, error) {
	var rows []*bench.Row
	for _, r := range all {
		named := slices.Contains(names, r.Name)
		if !named && (len(names) > 0 || r.Needs != "" && !every) {
			continue
		}
		if r.Needs != "" {
			if _, err := os.Stat(r.Needs); err != nil {
				return nil, fmt.Errorf("bench: the row %s needs a static %s: %w", r.Name, path.Base(r.Needs), err)
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func newBenchMmap() *cobra.Command {
	var b benchmark
	var svg string
	c := &cobra.Command{
		Use:   "mmap",
		Short: "measure mapping calls by size, under each guard",
		Long: `Map memory with MAP_POPULATE, touch every page and unmap it, at the sizes of
the table that was posted with UML's hardening series, and print the same table
with the posted figures beside it. The first guard is what the others are
compared with.`,
		Example: `  skas bench mmap
  skas bench mmap --guards notify,notify-nosync
  skas bench mmap --pin on --svg mmap.svg --markdown >mmap.md`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			var plot *os.File
			if svg != "" {
				// Before the measurement, which takes a while.
				if plot, err = os.Create(svg); err != nil {
					return &exitError{exitUsage, fmt.Errorf("--svg: %w", err)}
				}
				defer func() { err = errors.Join(err, plot.Close()) }()
			}
			var rows []*bench.Row
			for _, size := range bench.PostedSizes() {
				rows = append(rows, bench.MapRow(size))
			}
			measured, err := b.run(c, rows, false)
			if err != nil {
				return err
			}
			r := &bench.MmapReport{Report: *measured, Posted: bench.PostedTable()}
			if plot != nil {
				if err := r.Plot(plot); err != nil {
					return &exitError{exitSelf, err}
				}
			}
			return b.print(c.OutOrStdout(), r)
		},
	}
	b.addFlags(c, guard.Names()...)
	c.Flags().StringVar(&svg, "svg", "", "draw the result into this `FILE`")
	return c
}

// report is either kind.
type report interface {
	Write(io.Writer, bench.Format) error
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (b *benchmark) print(w io.Writer, r report) error {
	if b.json {
		return writeJSON(w, r)
	}
	format := bench.Text
	if b.markdown {
		format = bench.Markdown
	}
	return r.Write(w, format)
}

// configs are the configurations that --guards names.
func (b *benchmark) configs() ([]bench.Config, error) {
	all := benchConfigs()
	var list []bench.Config
	for _, name := range b.guards {
		named := func(c bench.Config) bool { return c.Name == name }
		i := slices.IndexFunc(all, named)
		if i < 0 {
			return nil, fmt.Errorf("--guards %s: give some of %s", name, configNames())
		}
		if slices.ContainsFunc(list, named) {
			return nil, fmt.Errorf("--guards: %s is there twice", name)
		}
		list = append(list, all[i])
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--guards: give some of %s", configNames())
	}
	return list, nil
}

// check checks the flags, and returns the configurations to measure.
func (b *benchmark) check() ([]bench.Config, error) {
	configs, err := b.configs()
	switch {
	case err != nil:
		return nil, &exitError{exitUsage, err}
	case b.rounds < 0 || b.repeats < 1:
		return nil, &exitError{exitUsage, errors.New("--rounds and --repeats: give positive numbers")}
	case !slices.Contains([]string{"on", "off", "both"}, b.pin):
		return nil, &exitError{exitUsage, fmt.Errorf("--pin %s: say on, off or both", b.pin)}
	}
	for _, config := range configs {
		var machine guest.Config
		config.Set(&machine)
		if err := asNamed(machine, onThisHost); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

// run measures rows under every guard, natively first if asked to, and last in
// real User Mode Linux; it closes the umls.
func (b *benchmark) run(c *cobra.Command, rows []*bench.Row, native bool, umls ...*bench.UML) (r *bench.Report, err error) {
	configs, err := b.check()
	if err != nil {
		return nil, err
	}
	// Programs and guests are removed from the host when a signal ends this, too.
	ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	defer func() { err = benchError(ctx, err) }()

	r = new(bench.Report)
	if r.Host, err = bench.ThisHost(); err != nil {
		return nil, err
	}
	if r.Clock, err = bench.Calibrate(ctx); err != nil {
		return nil, err
	}
	plan := bench.Plan{Rows: rows, Rounds: b.rounds, Repeats: b.repeats}
	defer func() {
		for _, v := range plan.Variants {
			err = errors.Join(err, v.Close())
		}
	}()
	if native {
		n, err := bench.NewNative(rows)
		if err != nil {
			return nil, err
		}
		plan.Variants = append(plan.Variants, n)
	}
	for _, config := range configs {
		m, err := bench.NewMachine(guest.Config{Arch: amd64.New(), Root: "/"}, config, rows)
		if err != nil {
			return nil, err
		}
		plan.Variants = append(plan.Variants, m)
	}
	for _, u := range umls {
		plan.Variants = append(plan.Variants, u)
	}
	plan.Prepare = func() error {
		for _, u := range umls {
			if err := u.Reboot(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, pinned := range []bool{true, false} {
		if pinned && b.pin == "off" || !pinned && b.pin == "on" {
			continue
		}
		p, err := b.place(ctx, plan, r.Clock, pinned, c.ErrOrStderr())
		if err != nil {
			return nil, err
		}
		r.Placements = append(r.Placements, p)
	}
	return r, nil
}

// benchError gives the error of a benchmark its exit status.
func benchError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exitError{128 + int(unix.SIGINT), errors.New("bench: interrupted")}
	}
	return &exitError{exitSelf, err}
}

// place runs the plan, pinned or not.
func (b *benchmark) place(ctx context.Context, plan bench.Plan, clock bench.Clock, pinned bool, stderr io.Writer) (_ bench.Placement, err error) {
	cpu, where := -1, "not pinned"
	if pinned {
		var unpin func() error
		if cpu, unpin, err = bench.Pin(); err != nil {
			return bench.Placement{}, err
		}
		defer func() { err = errors.Join(err, unpin()) }()
		where = "pinned"
	}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		const clear = "\r\x1b[K"
		plan.Progress = func(done, total int, row, variant string) {
			fmt.Fprintf(stderr, "%s%s: %d of %d: %s %s", clear, where, done, total, row, variant)
		}
		defer fmt.Fprint(stderr, clear)
	}
	results, err := plan.Run(ctx, clock)
	if err != nil {
		return bench.Placement{}, err
	}
	p := bench.NewPlacement(results, b.repeats)
	p.Pinned, p.CPU = pinned, cpu
	return p, nil
}
