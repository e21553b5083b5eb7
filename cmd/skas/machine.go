package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"

	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/guest"
	"goskas/internal/probe"
	"goskas/physmem"
	"goskas/skas"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// machine holds the flags that every command with a guest has.
type machine struct {
	mem    size
	cpus   int
	hz     int
	strace bool
	stats  bool
	json   bool
	debug  bool

	heading  string // of the table of statistics
	mode     string
	guard    string
	stall    string
	noSync   bool
	noAround bool
	noVDSO   bool
	// guardSet says whether --guard was given.
	guardSet func() bool
}

func (m *machine) addFlags(c *cobra.Command) {
	m.mem = 256 << 20
	f := c.Flags()
	f.Var(&m.mem, "mem", "guest memory; suffixes K, M, G")
	f.IntVar(&m.cpus, "cpus", 1, "number of vCPUs")
	f.IntVar(&m.hz, "hz", 100, "timer ticks per second and vCPU")
	f.BoolVar(&m.strace, "strace", false, "print the guest's system calls to standard error")
	f.BoolVar(&m.stats, "stats", false, "print what the stubs did to standard error at the end")
	f.BoolVar(&m.json, "json", false, "with --stats: as JSON")
	f.BoolVar(&m.debug, "debug", false, "log what the monitor does to standard error")
	f.StringVar(&m.mode, "mode", defaultMode(), "`MODE` of keeping stubs: "+strings.Join(skas.Modes(), ", ")+"; ptrace has no guards")
	must(c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(skas.Modes(), cobra.ShellCompDirectiveNoFileComp)))
	addGuardFlag(c, &m.guard)
	m.guardSet = func() bool { return c.Flags().Changed("guard") }
	f.StringVar(&m.stall, "stall", skas.StallDefault.String(), "`POLICY` for stubs that do not report a tick: "+strings.Join(skas.Stalls(), ", "))
	f.BoolVar(&m.noSync, "no-sync-wake", false, "guards notify and validate: without the listener's synchronous wake-up")
	must(c.RegisterFlagCompletionFunc("stall", cobra.FixedCompletions(skas.Stalls(), cobra.ShellCompDirectiveNoFileComp)))
	f.BoolVar(&m.noAround, "no-fault-around", false, "bring in only the page of a file that a fault asks for, not its neighbours")
	f.BoolVar(&m.noVDSO, "no-vdso", false, "programs make a system call to get the time")
	must(c.RegisterFlagCompletionFunc("mem", cobra.FixedCompletions([]string{"64M", "256M", "1G"}, cobra.ShellCompDirectiveNoFileComp)))
}

// defaultMode is what the environment asks for, or ours.
func defaultMode() string {
	if name := os.Getenv("SKAS_MODE"); name != "" {
		return name
	}
	return skas.ModeSeccomp.String()
}

// canTrace says what keeps mode ptrace from working.
func canTrace(has prober) error {
	if err := has(probe.PtraceSysemu); err != nil {
		return &exitError{exitSelf, fmt.Errorf("mode ptrace does not work here: %w", advised(probe.PtraceSysemu, err))}
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic("BUG: " + err.Error())
	}
}

const maxCPUs = 64

// config checks the flags; notes about what it decides go to stderr.
func (m *machine) config(stderr io.Writer) (guest.Config, error) {
	bad := func(format string, args ...any) (guest.Config, error) {
		return guest.Config{}, &exitError{exitUsage, fmt.Errorf(format, args...)}
	}
	switch {
	case m.cpus < 1 || m.cpus > maxCPUs:
		return bad("--cpus %d: give a number from 1 to %d", m.cpus, maxCPUs)
	case m.hz < 1 || m.hz > 1000:
		return bad("--hz %d: give a number from 1 to 1000", m.hz)
	case m.mem < minMem:
		return bad("--mem %v: a guest needs at least %v", m.mem, size(minMem))
	case m.mem > physmem.MaxSize:
		return bad("--mem %v: give at most %v", m.mem, size(physmem.MaxSize))
	case m.json && !m.stats:
		return bad("--json says how to print --stats: give both")
	}
	stall, err := skas.ParseStall(m.stall)
	if err != nil {
		return bad("--stall: %v", err)
	}
	mode, err := skas.ParseMode(m.mode)
	if err != nil {
		return bad("--mode: %v", err)
	}
	g := choice{guard: guard.None}
	if mode == skas.ModePtrace {
		if m.guardSet() && m.guard != guard.None.String() {
			return bad("--guard %s: mode ptrace has no guards, since its stubs make no system call by themselves; leave --guard out", m.guard)
		}
		if stall != skas.StallDefault && stall != skas.StallOff {
			return bad("--stall %s: mode ptrace has no stall policies, since a tick always stops a traced stub; leave --stall out", m.stall)
		}
		if m.noSync {
			return bad("--no-sync-wake is for guards, which mode ptrace has none of")
		}
		if err := canTrace(onThisHost); err != nil {
			return guest.Config{}, err
		}
	} else if g, err = chooseGuard(m.guard, m.noSync, onThisHost); err != nil {
		return guest.Config{}, err
	}
	for _, note := range g.notes {
		fmt.Fprintln(stderr, "skas:", note)
	}
	c := guest.Config{
		Mode: mode, Guard: g.guard, Stall: stall, NoSyncWake: g.noSync,
		Arch: amd64.New(), Memory: int64(m.mem), CPUs: m.cpus, HZ: m.hz,
		NoFaultAround: m.noAround,
		NoVDSO:        m.noVDSO,
		Stdin:         os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	level := slog.LevelWarn
	if m.debug {
		level = slog.LevelDebug
	}
	c.Log = newLog(stderr, level)
	if m.strace {
		c.Strace = os.Stderr
	}
	return c, nil
}

// minMem is enough for a stub, a small program and its stack.
const minMem = 1 << 20

// run boots a guest, runs one program in it and reports its status as ours.
func (m *machine) run(ctx context.Context, c guest.Config, path string, argv, env []string, stderr io.Writer) error {
	restore := func() {}
	if c.Terminal {
		h, err := newHostTerminal(c.Stdin, c.Stdout)
		if err != nil {
			return err
		}
		var once sync.Once
		restore = func() { once.Do(func() { h.restore(c.Stdin) }) }
		defer restore()
	}
	k, err := guest.New(c)
	var bind *guest.BindError
	switch {
	case errors.As(err, &bind):
		return &exitError{exitUsage, fmt.Errorf("--bind %s:%s: %w", bind.Bind.Host, bind.Bind.Guest, bind.Err)}
	case err != nil:
		return &exitError{exitSelf, err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var detach func() error
	if c.Terminal {
		detach = followTerminal(k, c.Stdin, cancel)
	} else {
		detach = forwardSignals(k, cancel)
	}
	status, err := k.Run(ctx, path, argv, env)
	ended := detach()
	stats := k.Stats()
	if cerr := k.Close(); err == nil && cerr != nil {
		err = cerr
	}
	restore() // before anything is printed
	if ended != nil {
		return ended
	}
	if err != nil {
		return startError(ctx, path, err)
	}
	if m.stats {
		if !m.json {
			fmt.Fprint(stderr, m.heading)
		}
		if err := printStats(stderr, stats, m.json); err != nil {
			return &exitError{exitSelf, err}
		}
	}
	if status != 0 {
		return &exitError{status: status}
	}
	return nil
}

// errSecond ends a run.
var errSecond = errors.New("ended by a second signal")

// forwardSignals passes the signals that ask a program to stop on to the guest;
// a second one ends the run. It is no second one if the guest has read input
// since the last: then it is, say, a shell whose user has stopped two commands.
func forwardSignals(k *guest.Kernel, cancel context.CancelCauseFunc) (detach func() error) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		seen, before := false, uint64(0)
		for s := range ch {
			sig := s.(unix.Signal)
			consumed := k.Interrupt(sig)
			if seen && consumed == before {
				cancel(&exitError{128 + int(sig), errSecond})
				return
			}
			seen, before = true, consumed
		}
	}()
	return func() error {
		signal.Stop(ch)
		close(ch)
		return nil
	}
}

// startError gives a failed run the status that a shell would give.
func startError(ctx context.Context, path string, err error) error {
	var exit *exitError
	if errors.As(context.Cause(ctx), &exit) {
		return exit
	}
	var dir *guest.DirError
	if errors.As(err, &dir) {
		return &exitError{exitUsage, fmt.Errorf("--cwd %s: %w", dir.Dir, dir.Err)}
	}
	var start *guest.StartError
	if !errors.As(err, &start) {
		return &exitError{exitSelf, err}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return &exitError{exitNotFound, err}
	}
	return &exitError{exitCannot, err}
}
