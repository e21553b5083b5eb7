package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"goskas/realuml"
	"goskas/realuml/trace"

	"github.com/spf13/cobra"
)

// exitDifferent is diff's exit status for a difference.
const exitDifferent = 1

func newDiff() *cobra.Command {
	width, cache := 96, ""
	c := &cobra.Command{
		Use:   "diff [flags] PROGRAM",
		Short: "compare our stubs with real User Mode Linux's, call by call",
		Long: `Run PROGRAM, a static Linux executable, as process 1 of real User Mode Linux and
of a guest of ours, both under strace, and show side by side what the stub
processes did on the host: User Mode Linux on the left, ours on the right.

What is chance or layout is taken out of both traces first (physical addresses,
who won a race, ticks). A mark stands between the columns:

  ~    the same, but for a difference that is meant (named behind it)
  |    different
  < >  only on that side

Real User Mode Linux is fetched from Debian the first time. The program should
end by itself, by exit or by power-off.

Exit status: 0 if there is no difference, 1 if there is one, 2 for a mistake on
the command line, 125 if the comparison failed.`,
		Example: `  skas diff ./program
  skas diff --width 70 ./program | less`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("diff: name one program, as in 'skas diff ./program'")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if width < 20 {
				return fmt.Errorf("--width %d: give a number from 20", width)
			}
			program, err := os.ReadFile(args[0])
			if err != nil {
				return &exitError{exitNotFound, err}
			}
			logf := func(format string, args ...any) {
				fmt.Fprintf(c.ErrOrStderr(), "skas: "+format+"\n", args...)
			}
			same, err := diff(c.Context(), c.OutOrStdout(), program, cache, width, logf)
			if err != nil {
				return &exitError{exitSelf, err}
			}
			if !same {
				return &exitError{status: exitDifferent}
			}
			return nil
		},
	}
	c.Flags().IntVar(&width, "width", width, "characters in a column")
	c.Flags().StringVar(&cache, "cache", "", "`DIR` where real User Mode Linux is kept (default goskas/real-uml in the user's cache directory)")
	must(c.MarkFlagDirname("cache"))
	return c
}

// diff prints the comparison and tells whether there was no difference.
func diff(ctx context.Context, w io.Writer, program []byte, cache string, width int, logf func(string, ...any)) (bool, error) {
	if cache == "" {
		dir, err := realuml.CacheDir()
		if err != nil {
			return false, err
		}
		cache = dir
	}
	kernel, err := realuml.Fetch(ctx, cache, logf)
	if err != nil {
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return false, err
	}
	stubs, err := kernel.Compare(ctx, self, program)
	if err != nil {
		return false, err
	}
	same := true
	for i, pairs := range stubs {
		different := trace.Differences(pairs)
		same = same && different == 0
		fmt.Fprintf(w, "stub %d: %d steps, %d of them different\n", i+1, len(pairs), different)
		if err := trace.Write(w, pairs, width); err != nil {
			return false, err
		}
	}
	return same, nil
}
