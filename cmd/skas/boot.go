package main

import (
	"os"
	"path"

	"goskas/guest/toy"

	"github.com/spf13/cobra"
)

// toyDir is where a guest finds guest.Config.Files.
const toyDir = "/toy"

func newBoot() *cobra.Command {
	m := machine{heading: "\nWhat the stubs did:\n"}
	c := &cobra.Command{
		Use:   "boot",
		Short: "boot the embedded toy guest and show its processes at work",
		Long: `Boot a guest from programs that are part of this binary: nothing is read from
the host. They show fork, exec, demand paging, copy-on-write, a process that
handles its own faults and one that does not, pipes, and preemption; a table of
what the stubs did follows. With --json that is all of standard output, and the
guest prints to standard error.

Exit status: 0 if every demonstration found what it expected, 1 if not, 2 for a
mistake on the command line, 125 if the monitor itself failed.`,
		Example: `  skas boot
  skas boot --cpus 2 --strace
  skas boot --json | jq .skas.batches`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m.stats = true
			config, err := m.config(c.ErrOrStderr())
			if err != nil {
				return err
			}
			config.Files, config.Dir = toy.Programs(), toyDir
			if m.json { // standard output is for the statistics alone
				config.Stdout = os.Stderr
			}
			init := path.Join(toyDir, toy.Init)
			return m.run(c.Context(), config, init, []string{init}, guestEnv, c.OutOrStdout())
		},
	}
	m.addFlags(c)
	must(c.Flags().MarkHidden("stats")) // always on here
	c.Flags().Lookup("json").Usage = "print what the stubs did as JSON"
	return c
}
