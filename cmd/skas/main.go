// Command skas runs programs as guest processes in seccomp stubs, the way User
// Mode Linux does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit statuses that are not the guest's own; those of a shell, and 125 for
// ourselves as the usual container commands have it.
const (
	exitUsage    = 2
	exitSelf     = 125
	exitCannot   = 126
	exitNotFound = 127
)

// exitError carries an exit status. A nil err has been reported already, or
// needs no report.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addDefaults(root)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own errors are about usage
		exit = &exitError{exitUsage, fmt.Errorf("%w; see '%s --help'", err, c.CommandPath())}
	}
	if exit.err != nil {
		fmt.Fprintf(stderr, "skas: %v\n", exit.err)
	}
	return exit.status
}

// addDefaults adds cobra's own two commands, in our words. They write to what is
// the root's output by now.
func addDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "show the help of a command"
		case "completion":
			c.Short = "print a script that completes command lines in a shell"
		}
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "skas",
		Short: "run programs in User Mode Linux style seccomp stubs",
		Long: `skas plays the part of a User Mode Linux kernel: it runs programs as guest
processes, each in a host process of its own under a seccomp filter, and answers
their system calls, page faults and timer ticks itself.

Exit status of all commands, unless their help says more: 0 for success, 2 for a
mistake on the command line, 125 if skas itself failed.

Environment: SKAS_GUARD is the guard where --guard is not given, SKAS_MODE the
mode where --mode is not.`,
		Example: `  skas boot                                 # the embedded demonstration guest
  skas run -- busybox sh -c 'ls / | wc -l'  # a program of the host, in a guest
  skas check                                # what this host can and cannot do`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	root.AddCommand(newRun(), newBoot(), newCheck(), newStub(), newBench(), newContainment(), newDiff(), newSyscalls(), newVersion(), newRestorer())
	return root
}
