package bench

import (
	"fmt"
	"io"
)

// Write prints the report: the host, and a table for each placement.
func (r *Report) Write(w io.Writer, f Format) error {
	if err := r.writeHost(w); err != nil {
		return err
	}
	for i := range r.Placements {
		p := &r.Placements[i]
		if _, err := fmt.Fprintf(w, "\n%s; %d repeats; ns per operation: median [range over repeats], p99; ratio of medians\n\n",
			p.place(), p.Repeats); err != nil {
			return err
		}
		if err := p.grid().write(w, f); err != nil {
			return err
		}
		if err := p.writeYardstick(w); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) writeHost(w io.Writer) error {
	cpu := r.Host.CPU
	if cpu == "" {
		cpu = "unknown CPU"
	}
	_, err := fmt.Fprintf(w, "%s, %d CPUs, %s; time stamp counter %.3f GHz, %.0f ns of overhead taken off\n",
		cpu, r.Host.CPUs, r.Host.Kernel, r.Clock.GHz, float64(r.Clock.Overhead)/r.Clock.GHz)
	return err
}

func (p *Placement) place() string {
	if p.Pinned {
		return fmt.Sprintf("Everything on CPU %d", p.CPU)
	}
	return "Not pinned (a vCPU and its stub share a CPU)"
}

// grid has a column group for every variant that some row ran on.
func (p *Placement) grid() *grid {
	var names []string
	for _, res := range p.Results {
		if len(res.On) > len(names) {
			names = names[:0]
			for _, v := range res.On {
				names = append(names, v.Variant)
			}
		}
	}
	g := &grid{head: []string{"operation"}}
	for i, name := range names {
		g.head = append(g.head, name, "p99")
		if i > 0 {
			g.head = append(g.head, "ratio")
		}
	}
	for _, res := range p.Results {
		row := []string{res.Metric}
		for i := range names {
			switch {
			case i < len(res.On):
				v := res.On[i]
				row = append(row, spread(v.Median, "%.0f"), ns(v.P99.Median))
				if i > 0 {
					row = append(row, spread(v.Ratio, "%.2f"))
				}
			case i > 0:
				row = append(row, "-", "-", "-")
			}
		}
		g.add(row...)
	}
	return g
}

func (p *Placement) writeYardstick(w io.Writer) error {
	for _, y := range p.Yardstick {
		if _, err := fmt.Fprintf(w, "\ngetppid on %s takes %s times the futex ping-pong on one CPU; the limit is %.1f\n",
			y.Variant, spread(y.Ratio, "%.2f"), YardstickLimit); err != nil {
			return err
		}
	}
	return nil
}
