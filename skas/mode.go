package skas

import (
	"errors"
	"fmt"
	"strings"

	"goskas/guard"
)

// Mode is how stubs are kept: UML has two ways.
type Mode uint8

// The modes.
const (
	// ModeSeccomp has the stub's signal handler report what a filter and the
	// CPU stop. It is the default.
	ModeSeccomp Mode = iota
	// ModePtrace traces the stub, as UML did first and does where the other
	// way does not work. There is nothing for a guard to do: the stub makes no
	// system call by itself.
	ModePtrace
)

var modeNames = [...]string{"seccomp", "ptrace"}

func (m Mode) String() string { return modeNames[m] }

// Modes lists the names that ParseMode takes.
func Modes() []string { return modeNames[:] }

// ParseMode finds a mode by name.
func ParseMode(name string) (Mode, error) {
	for i, n := range modeNames {
		if n == name {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("no mode %q: give %s", name, strings.Join(modeNames[:], ", "))
}

// newProtocol makes what the stubs of a mode and a guard have in common.
func (m *Monitor) newProtocol(cfg Config) (protocol, error) {
	switch {
	case cfg.Mode == ModePtrace:
		if !cfg.Guard.IsZero() && cfg.Guard.String() != guard.None.String() {
			return nil, fmt.Errorf("skas: mode ptrace has no guards; %v was asked for", cfg.Guard)
		}
		if cfg.Stall != StallDefault && cfg.Stall != StallOff {
			return nil, errors.New("skas: mode ptrace has no stall policies: a tick always stops a traced stub")
		}
		m.guard, m.stall = guard.None, StallOff
		return newTracing(m.mem, m.arch, cfg.CPUs == 1, cfg.Leaves)
	case m.guard.Sealed:
		return newSealed(m.mem, m.arch)
	default:
		return newPosted(m.mem, m.arch, m.guard)
	}
}
