package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"goskas/guard"
	"goskas/guest"
	"goskas/internal/probe"
	"goskas/skas"

	"github.com/spf13/cobra"
)

// autoGuard stands for the strongest guard that works on this host.
const autoGuard = "auto"

func guardNames() []string { return append([]string{autoGuard}, guard.Names()...) }

// addGuardFlag is for every command that shows or runs stubs.
func addGuardFlag(c *cobra.Command, name *string) {
	c.Flags().StringVar(name, "guard", defaultGuard(), "`GUARD` that checks the mapping calls of stubs: "+strings.Join(guardNames(), ", "))
	must(c.RegisterFlagCompletionFunc("guard", cobra.FixedCompletions(guardNames(), cobra.ShellCompDirectiveNoFileComp)))
}

// defaultGuard is what the environment asks for, or ours. It is checked with the
// flag.
func defaultGuard() string {
	if name := os.Getenv("SKAS_GUARD"); name != "" {
		return name
	}
	return guard.Default().String()
}

// prober says why the host lacks a feature, or nil.
type prober func(probe.Feature) error

func onThisHost(f probe.Feature) error {
	_, err := f.Probe()
	return err
}

// choice is a guard that works on a host.
type choice struct {
	guard guard.Guard
	// noSync: without the listener's synchronous wake-up, by choice or
	// because the host has none.
	noSync bool
	// notes are to be shown to the user: what was decided for him.
	notes []string
}

// chooseGuard finds the guard that --guard names and makes sure that it works,
// or finds the strongest that does. It falls back on nothing without a note.
func chooseGuard(name string, noSync bool, has prober) (choice, error) {
	c := choice{noSync: noSync}
	if name == autoGuard {
		var others []string
		for _, g := range slices.Backward(guard.All()) {
			err := lacks(g, has)
			if err == nil {
				c.guard = g
				break
			}
			others = append(others, fmt.Sprintf("%v does not: %v", g, err))
		}
		c.notes = append(c.notes, strings.Join(append(
			[]string{fmt.Sprintf("guard %v is the strongest that works here", c.guard)}, others...), "; "))
	} else {
		var err error
		if c.guard, err = guard.Parse(name); err != nil {
			return c, &exitError{exitUsage, fmt.Errorf("--guard: no guard %q: give %s", name, strings.Join(guardNames(), ", "))}
		}
		if err := lacks(c.guard, has); err != nil {
			return c, &exitError{exitSelf, fmt.Errorf("guard %v does not work here: %w", c.guard, err)}
		}
	}
	for _, f := range c.guard.Wants {
		listener := f.Name == probe.UserNotifSyncWakeUp.Name
		if listener && noSync {
			continue
		}
		if err := has(f); err != nil {
			c.noSync = c.noSync || listener
			c.notes = append(c.notes, fmt.Sprintf("guard %v is slower than it could be: %v", c.guard, advised(f, err)))
		}
	}
	return c, nil
}

// asNamed makes sure that a machine's mode and guard work as they are configured, for what
// may not fall back on anything.
func asNamed(c guest.Config, has prober) error {
	if c.Mode == skas.ModePtrace {
		return canTrace(has)
	}
	got, err := chooseGuard(c.Guard.String(), c.NoSyncWake, has)
	if err == nil && len(got.notes) > 0 {
		err = &exitError{exitSelf, errors.New(got.notes[0])}
	}
	return err
}

// lacks says what keeps a guard from working; nil if nothing does.
func lacks(g guard.Guard, has prober) error {
	for _, f := range g.Needs {
		if err := has(f); err != nil {
			return advised(f, err)
		}
	}
	return nil
}

// advised adds what to do about a missing feature.
func advised(f probe.Feature, err error) error {
	if errors.Is(err, probe.ErrNotSupported) {
		return fmt.Errorf("%w (%s)", err, f.Advice)
	}
	return err
}
