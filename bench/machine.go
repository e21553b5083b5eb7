package bench

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"

	"goskas/guest"
)

// Config is a configuration of the machine to measure: a name for the table,
// and what it changes in the configuration that all have in common.
type Config struct {
	Name string
	Set  func(*guest.Config) // nil: nothing
}

// Machine runs the programs in a guest that stays up from one to the next.
type Machine struct {
	name   string
	kernel *guest.Kernel
	out    *output
}

// NewMachine boots a guest with the programs of rows in it.
func NewMachine(common guest.Config, c Config, rows []*Row) (*Machine, error) {
	cfg := common
	if c.Set != nil {
		c.Set(&cfg)
	}
	cfg.Files = make(map[string][]byte)
	for _, r := range rows {
		image, err := r.Image()
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %w", r.Name, err)
		}
		cfg.Files[r.Name] = image
	}
	out, err := newOutput()
	if err != nil {
		return nil, err
	}
	cfg.Stdout, cfg.Stderr = out.file, out.file
	k, err := guest.New(cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.Name, err), out.Close())
	}
	return &Machine{name: c.Name, kernel: k, out: out}, nil
}

// Close ends the guest.
func (m *Machine) Close() error { return errors.Join(m.kernel.Close(), m.out.Close()) }

// Name is the configuration's.
func (m *Machine) Name() string { return m.name }

// Run runs the program as process 1.
func (m *Machine) Run(ctx context.Context, r *Row, rounds int) ([]byte, error) {
	// guest.Config.Files are in /toy.
	file := path.Join("/toy", r.Name)
	status, err := m.kernel.Run(ctx, file, []string{file, strconv.Itoa(rounds)}, nil)
	out, readErr := m.out.take()
	switch {
	case err != nil:
		return nil, err
	case status != 0:
		return nil, failure(status, out)
	}
	return out, readErr
}
