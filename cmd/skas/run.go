package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"goskas/guest"

	"github.com/spf13/cobra"
)

// guestEnv is what a guest program finds in its environment unless --env says
// otherwise.
var guestEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/",
	"TERM=" + os.Getenv("TERM"),
}

func newRun() *cobra.Command {
	var m machine
	var root, cwd string
	var env, binds []string
	var tty, interactive bool
	c := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARG...]",
		Short: "run a program of the host as guest process 1",
		Long: `Boot a guest, run PROGRAM in it as process 1, and exit with its status.

PROGRAM is a Linux executable, static or dynamic, or a script, below the guest's
root, which is a host directory that the guest can read but not change. /tmp is a
private, writable tree in memory. --bind shows more directories of the host; with
:rw the guest changes them in place, as the user that you are. A name without a
slash is looked up in the guest's PATH. 'skas syscalls' lists what system calls
there are.

Exit status: the program's own; 128 plus the signal that killed it; 126 if it
cannot be run, 127 if it is not there, 2 for a mistake on the command line, and
125 if the monitor itself failed. Ctrl-C goes to the guest; a second one, with no
input read in between, ends everything.

With --tty the guest has a terminal of its own: every key goes to it, Ctrl-C and
Ctrl-Z act on its jobs, and the window's size is passed on. Your terminal is in raw
mode meanwhile and restored whatever happens. SIGTERM, SIGHUP, SIGINT and SIGQUIT
to skas hang that terminal up, and after two seconds end the guest: the status is
128 plus the signal.`,
		Example: `  skas run -- busybox echo hello
  skas run --strace -- /bin/busybox ls /
  skas run --stats --cpus 2 -- busybox sh -c 'seq 1000 | sort -n | tail -1'
  skas run --bind .:/tmp/work:rw --cwd /tmp/work -- make
  skas run --root /srv/tree --env LANG=C -- /bin/prog
  skas run -it -- /bin/bash
  skas run --guard none -- bash -c 'echo $BASH_VERSION'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run: name the program, as in 'skas run -- busybox ls'")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			config, err := m.config(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if fi, err := os.Stat(root); err != nil || !fi.IsDir() {
				return &exitError{exitUsage, fmt.Errorf("--root %s: not a directory", root)}
			}
			config.Root, config.Dir, config.Terminal = root, cwd, tty
			for _, text := range binds {
				b, err := parseBind(text)
				if err != nil {
					return &exitError{exitUsage, err}
				}
				config.Binds = append(config.Binds, b)
			}
			for _, e := range env {
				if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
					return &exitError{exitUsage, fmt.Errorf("--env %q: write NAME=VALUE", e)}
				}
			}
			return m.run(c.Context(), config, args[0], args, mergeEnv(guestEnv, env), c.ErrOrStderr())
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	m.addFlags(c)
	// What follows PROGRAM is the program's.
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&root, "root", "/", "host `DIR` that is the guest's root, read-only")
	c.Flags().BoolVarP(&tty, "tty", "t", false, "give the guest a terminal of its own, with job control, on yours")
	c.Flags().BoolVarP(&interactive, "interactive", "i", false, "pass standard input to the guest: always so, accepted for the habit of -it")
	c.Flags().StringArrayVar(&env, "env", nil, "set `NAME=VALUE` in the guest's environment (repeatable)")
	c.Flags().StringArrayVar(&binds, "bind", nil, "show a directory of the host in the guest, `HOST:GUEST[:ro|rw]`, read-only unless :rw (repeatable)")
	c.Flags().StringVar(&cwd, "cwd", "/", "guest `DIR` that the program starts in")
	must(c.MarkFlagDirname("root"))
	return c
}

// parseBind reads the value of --bind.
func parseBind(text string) (guest.Bind, error) {
	bad := func(format string, args ...any) (guest.Bind, error) {
		return guest.Bind{}, fmt.Errorf("--bind %s: %s", text, fmt.Sprintf(format, args...))
	}
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || !path.IsAbs(parts[1]) {
		return bad("write HOST:GUEST, HOST:GUEST:ro or HOST:GUEST:rw, GUEST with a slash in front")
	}
	b := guest.Bind{Host: parts[0], Guest: path.Clean(parts[1])}
	if len(parts) == 3 {
		switch parts[2] {
		case "ro":
		case "rw":
			b.Write = true
		default:
			return bad("%q is neither ro nor rw", parts[2])
		}
	}
	if fi, err := os.Stat(b.Host); err != nil || !fi.IsDir() {
		return bad("%s is not a directory", b.Host)
	}
	return b, nil
}

// mergeEnv is base with the variables of extra set.
func mergeEnv(base, extra []string) []string {
	var out []string
	set := make(map[string]int)
	for _, e := range append(append([]string(nil), base...), extra...) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := set[name]; ok {
			out[i] = e
			continue
		}
		set[name] = len(out)
		out = append(out, e)
	}
	return out
}
