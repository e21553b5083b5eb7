package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"goskas/bench"
	"goskas/guard"
	"goskas/realuml"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newBenchPeers() *cobra.Command {
	var b benchmark
	var save, cache string
	var names, about []string
	for _, r := range bench.PeerRows() {
		names = append(names, r.Name)
		about = append(about, fmt.Sprintf("  %-13s %s", r.Name, strings.TrimSuffix(r.About, "; only if named")))
	}
	c := &cobra.Command{
		Use:   "peers [flags] [ROW...]",
		Short: "compare with real User Mode Linux",
		Long: `Run the same static programs natively, in guests of ours and in real User Mode
Linux in both its modes, in turns, and compare. The rows, all of which are
measured if none is named:

` + strings.Join(about, "\n") + `

Guard ` + guard.Default().String() + `, or the first of --guards, is compared with User Mode Linux's seccomp
mode: it is faster in an operation if it is so in every repeat. Real User Mode
Linux is fetched from Debian the first time, and booted for every repeat. A guest
of either kind has 256M of memory and one CPU.

Exit status: 0 whoever is faster, 2 for a mistake on the command line, 125 if the
comparison failed.`,
		Example: `  skas bench peers
  skas bench peers --pin on --repeats 3 getppid fork
  skas bench peers --save build/peers   # writes build/peers.md and build/peers.json, too`,
		Args:      cobra.OnlyValidArgs,
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			return b.peers(c, args, save, cache)
		},
	}
	b.addFlags(c, "none", guard.Default().String())
	c.Flags().StringVar(&save, "save", "", "write the report to files of this name with .md and .json behind it, too")
	c.Flags().StringVar(&cache, "cache", "", "where real User Mode Linux is kept (default goskas/real-uml in the user's cache directory)")
	must(c.MarkFlagDirname("cache"))
	return c
}

func (b *benchmark) peers(c *cobra.Command, names []string, save, cache string) (err error) {
	rows, err := chooseRows(bench.PeerRows(), names, true)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if _, err := b.check(); err != nil {
		return err
	}
	files, err := createReports(save) // before the measurement, which takes a while
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--save: %w", err)}
	}
	defer func() { err = errors.Join(err, files.close()) }()

	kernel, err := fetchUML(c, cache)
	if err != nil {
		return err
	}
	var umls []*bench.UML
	for _, ptrace := range []bool{false, true} {
		u, err := bench.NewUML(kernel, ptrace, rows)
		if err != nil {
			return &exitError{exitSelf, err}
		}
		umls = append(umls, u)
	}
	measured, err := b.run(c, rows, true, umls...)
	if err != nil {
		return err
	}
	r := &bench.PeersReport{Report: *measured, UML: kernel.Version, Ours: b.guards[0], Peer: bench.UMLSeccomp}
	if d := guard.Default().String(); slices.Contains(b.guards, d) {
		r.Ours = d
	}
	r.Judge()
	if err := files.write(r); err != nil {
		return &exitError{exitSelf, err}
	}
	return b.print(c.OutOrStdout(), r)
}

// fetchUML gets real User Mode Linux, until a signal ends that.
func fetchUML(c *cobra.Command, cache string) (*realuml.Kernel, error) {
	if cache == "" {
		dir, err := realuml.CacheDir()
		if err != nil {
			return nil, &exitError{exitSelf, err}
		}
		cache = dir
	}
	ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	k, err := realuml.Fetch(ctx, cache, func(format string, args ...any) {
		fmt.Fprintf(c.ErrOrStderr(), "skas: "+format+"\n", args...)
	})
	return k, benchError(ctx, err)
}

// reportFiles are what --save asks for; nil files if it does not.
type reportFiles struct{ markdown, json *os.File }

func createReports(name string) (f reportFiles, err error) {
	if name == "" {
		return f, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return f, err
	}
	if f.markdown, err = os.Create(name + ".md"); err != nil {
		return f, err
	}
	if f.json, err = os.Create(name + ".json"); err != nil {
		return f, errors.Join(err, f.markdown.Close())
	}
	return f, nil
}

func (f reportFiles) write(r *bench.PeersReport) error {
	if f.json == nil {
		return nil
	}
	return errors.Join(r.Write(f.markdown, bench.Markdown), writeJSON(f.json, r))
}

func (f reportFiles) close() error {
	if f.json == nil {
		return nil
	}
	return errors.Join(f.markdown.Close(), f.json.Close())
}
