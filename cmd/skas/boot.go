package main

import (
	"path"

	"goskas/guest/toy"

	"github.com/spf13/cobra"
)

func newBoot() *cobra.Command {
	var m machine
	c := &cobra.Command{
		Use:   "boot",
		Short: "boot the embedded toy guest and show its processes at work",
		Long: `Boot a guest from programs that are part of this binary: nothing is read from
the host. They show fork, exec, demand paging, copy-on-write, pipes and
preemption; a table of what the stubs did follows.`,
		Example: `  skas boot
  skas boot --cpus 2 --strace
  skas boot --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m.stats = true
			config, err := m.config()
			if err != nil {
				return err
			}
			config.Files = toy.Programs()
			init := path.Join("/toy", toy.Init)
			return m.run(c.Context(), config, init, []string{init}, guestEnv, c.OutOrStdout())
		},
	}
	m.addFlags(c)
	must(c.Flags().MarkHidden("stats")) // always on here
	return c
}
