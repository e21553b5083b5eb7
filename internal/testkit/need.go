package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"goskas/internal/probe"
)

// Need skips t unless the host has every one of the features.
func Need(t testing.TB, features ...probe.Feature) {
	t.Helper()
	for _, f := range features {
		_, err := f.Probe()
		if err == nil {
			continue
		}
		if err := claim(f, err, probe.Kernel); err != nil {
			t.Fatal(err)
		}
		Skip(t, err)
	}
}

// claim checks that a missing feature may be missing; the result says why not.
func claim(f probe.Feature, err error, kernel func() (probe.Version, error)) error {
	if !errors.Is(err, probe.ErrNotSupported) {
		return err // could not tell
	}
	if f.Varies {
		return nil
	}
	v, kerr := kernel()
	if kerr != nil {
		return kerr
	}
	if v.AtLeast(f.Since) {
		return fmt.Errorf("%w; but this is Linux %v, which should have it", err, v)
	}
	return nil
}

// Command is the path of a program of the host; t is skipped if there is none.
func Command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, fmt.Errorf("%w ('make packages' installs what the tests need)", err))
	}
	return path
}

// Skip skips t, and says so in the list of what was skipped; it fails if nothing
// may be skipped (SKAS_REQUIRE=all).
func Skip(t testing.TB, why error) {
	t.Helper()
	if err := record(os.Getenv("SKAS_SKIPS"), t.Name(), why); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SKAS_REQUIRE") == "all" {
		t.Fatalf("%v; SKAS_REQUIRE=all forbids to skip", why)
	}
	t.Skip(why)
}

// record adds a line to the skip list of this run.
func record(list, test string, why error) error {
	if list == "" {
		return nil
	}
	f, err := os.OpenFile(list, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("skip list: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s: %v\n", test, why)
	return errors.Join(err, f.Close())
}
