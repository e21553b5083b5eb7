package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"goskas/realuml"
)

// UML runs the programs in real User Mode Linux, in a guest that stays up from one
// to the next until it is told to reboot.
type UML struct {
	name   string
	kernel *realuml.Kernel
	config realuml.GuestConfig
	guest  *realuml.Guest // nil until the first program
}

// Names of real User Mode Linux in its two modes.
const (
	UMLSeccomp = "uml-seccomp"
	UMLPtrace  = "uml-ptrace"
)

// umlMemory is what guest.Config gives ours.
const umlMemory = 256 << 20

// NewUML prepares a guest with the programs of rows and the files that they
// need.
func NewUML(k *realuml.Kernel, ptrace bool, rows []*Row) (*UML, error) {
	u := &UML{name: UMLSeccomp, kernel: k}
	if ptrace {
		u.name = UMLPtrace
	}
	u.config = realuml.GuestConfig{Ptrace: ptrace, Memory: umlMemory, Files: make(map[string][]byte)}
	for _, r := range rows {
		image, err := r.Image()
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %w", r.Name, err)
		}
		u.config.Files[r.Name] = image
		if r.Needs != "" {
			b, err := os.ReadFile(r.Needs)
			if err != nil {
				return nil, fmt.Errorf("benchmark %s: %w", r.Name, err)
			}
			u.config.Files[strings.TrimPrefix(r.Needs, "/")] = b
		}
	}
	return u, nil
}

// Reboot ends the guest, if it is up. The next program boots another, on the CPUs
// where this process may be then.
func (u *UML) Reboot() error {
	if u.guest == nil {
		return nil
	}
	g := u.guest
	u.guest = nil
	return g.Close()
}

// Close ends the guest.
func (u *UML) Close() error { return u.Reboot() }

// Name is UMLSeccomp or UMLPtrace.
func (u *UML) Name() string { return u.name }

// Run runs the program as a child of the guest's process 1, and takes its samples
// from the console.
func (u *UML) Run(ctx context.Context, r *Row, rounds int) ([]byte, error) {
	if u.guest == nil {
		g, err := u.kernel.Start(ctx, u.config)
		if err != nil {
			return nil, err
		}
		u.guest = g
	}
	out, status, err := u.guest.Run(ctx, "/"+r.Name, strconv.Itoa(rounds))
	switch {
	case err != nil:
		return nil, err
	case status != 0:
		return nil, failure(status, out)
	}
	return out, nil
}
