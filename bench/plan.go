package bench

import (
	"context"
	"fmt"
)

// Plan is what to measure: rows on variants, the first of which is the
// baseline.
type Plan struct {
	Rows     []*Row
	Variants []Variant
	// Rounds is the number of rounds a repeat has for each row and variant;
	// 0 means the row's own.
	Rounds, Repeats int
	// Prepare is called before each repeat; nil for nothing to prepare.
	Prepare func() error
	// Progress is called before each block; nil for nobody.
	Progress func(done, total int, row, variant string)
}

// cell is a metric on a variant, repeat by repeat.
type cell struct {
	row     *Row
	metric  string
	variant string
	repeats []summary
}

// variants are those that r is run on.
func (p *Plan) variants(r *Row) []Variant {
	if !r.HostOnly {
		return p.Variants
	}
	var native []Variant
	for _, v := range p.Variants {
		if _, ok := v.(*Native); ok {
			native = append(native, v)
		}
	}
	return native
}

func (p *Plan) rounds(r *Row) int {
	if p.Rounds > 0 {
		return p.Rounds
	}
	return r.Rounds
}

// blocks is the number of blocks of r in a repeat.
func (p *Plan) blocks(r *Row) int { return (p.rounds(r) + r.Block - 1) / r.Block }

// Run measures everything. It stops at the first program that fails.
func (p *Plan) Run(ctx context.Context, clock Clock) ([]Result, error) {
	cells := make([][]*cell, len(p.Rows)) // by row, then variant and metric
	total := 0
	for i, r := range p.Rows {
		variants := p.variants(r)
		if len(variants) == 0 {
			return nil, fmt.Errorf("row %s is only for the host, and that is not among the variants", r.Name)
		}
		total += p.Repeats * p.blocks(r) * len(variants)
		for _, v := range variants {
			for _, m := range r.Metrics {
				cells[i] = append(cells[i], &cell{row: r, metric: m, variant: v.Name()})
			}
		}
	}
	step := 0
	for repeat := range p.Repeats {
		if p.Prepare != nil {
			if err := p.Prepare(); err != nil {
				return nil, err
			}
		}
		for i, r := range p.Rows {
			samples := make([][]float64, len(cells[i]))
			for block := range p.blocks(r) {
				variants := p.variants(r)
				for turn := range variants {
					j := (repeat + block + turn) % len(variants)
					if p.Progress != nil {
						p.Progress(step, total, r.Name, variants[j].Name())
					}
					step++
					rounds := min(r.Block, p.rounds(r)-block*r.Block)
					if err := p.block(ctx, clock, r, variants[j], rounds, samples[j*r.samples():]); err != nil {
						return nil, err
					}
				}
			}
			for k, c := range cells[i] {
				c.repeats = append(c.repeats, summarize(samples[k]))
			}
		}
	}
	if p.Progress != nil {
		p.Progress(total, total, "", "")
	}
	var results []Result
	for i, r := range p.Rows {
		results = append(results, r.results(cells[i])...)
	}
	return results, nil
}

// block runs a block and appends its samples, in nanoseconds per operation, to
// those of the row's metrics.
func (p *Plan) block(ctx context.Context, clock Clock, r *Row, v Variant, rounds int, into [][]float64) error {
	ticks, err := run(ctx, v, r, r.Warm+rounds)
	if err != nil {
		return err
	}
	n := r.samples()
	for i, t := range ticks[r.Warm*n:] {
		into[i%n] = append(into[i%n], clock.nanoseconds(t, max(r.per, 1)))
	}
	return nil
}
