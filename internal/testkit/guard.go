package testkit

import (
	"os"
	"testing"

	"goskas/guard"
)

// Guard is the guard that tests of the whole path run under: the one that
// SKAS_GUARD names, or the default. `make test` runs them under each. t is skipped
// on a host where it does not work.
func Guard(t testing.TB) guard.Guard {
	t.Helper()
	if Ptrace(t) {
		return guard.None // there is none in that mode
	}
	name := os.Getenv("SKAS_GUARD")
	if name == "" {
		return guard.Default()
	}
	g, err := guard.Parse(name)
	if err != nil {
		t.Fatalf("SKAS_GUARD: %v", err)
	}
	Need(t, g.Needs...)
	return g
}
