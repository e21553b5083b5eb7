package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
)

// Variant is a way to run the programs of rows.
type Variant interface {
	Name() string
	// Run runs a row's program for a number of rounds and returns what it
	// wrote to standard output.
	Run(ctx context.Context, r *Row, rounds int) ([]byte, error)
	Close() error
}

// run has v run rounds rounds of r and returns the samples, in ticks, round by
// round.
func run(ctx context.Context, v Variant, r *Row, rounds int) ([]uint64, error) {
	out, err := v.Run(ctx, r, rounds)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", r.Name, v.Name(), err)
	}
	samples := make([]uint64, 0, rounds*r.samples())
	for line := range bytes.Lines(out) {
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%s on %s: line %d of the output is no sample: %w", r.Name, v.Name(), len(samples)+1, err)
		}
		samples = append(samples, n)
	}
	if len(samples) != rounds*r.samples() {
		return nil, fmt.Errorf("%s on %s: %d samples, not %d", r.Name, v.Name(), len(samples), rounds*r.samples())
	}
	return samples, nil
}

// failure is the error for a program that ended with a status other than 0;
// the message that it has printed follows its samples, if any.
func failure(status int, out []byte) error {
	last := bytes.TrimSpace(out)
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	return fmt.Errorf("exit status %d: %s", status, last)
}
