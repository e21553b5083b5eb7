package testkit

import (
	"os"
	"testing"

	"goskas/internal/probe"
)

// Ptrace says that tests of the whole path run in mode ptrace, which SKAS_MODE
// asks for. `make test` runs them in both. t is skipped on a host where it does
// not work.
func Ptrace(t testing.TB) bool {
	t.Helper()
	switch name := os.Getenv("SKAS_MODE"); name {
	case "", "seccomp":
		return false
	case "ptrace":
		Need(t, probe.PtraceSysemu)
		return true
	default:
		t.Fatalf("SKAS_MODE: no mode %q", name)
		return false
	}
}
