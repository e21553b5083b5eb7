package bench

import (
	"fmt"
	"io"
	"strings"
)

// Posted is a line of the table that was posted with the hardening series on
// the linux-um list: a mapping call in User Mode Linux with and without its
// guard, in ns per call, on its author's machine.
type Posted struct {
	Call       string  `json:"call"`
	Size       string  `json:"size"`
	With       float64 `json:"with_median_ns"`
	Without    float64 `json:"without_median_ns"`
	WithP99    float64 `json:"with_p99_ns"`
	WithoutP99 float64 `json:"without_p99_ns"`
}

// PostedTable is that table.
func PostedTable() []Posted {
	return []Posted{
		{"mmap", "4K", 13056, 10368, 17408, 15104},
		{"mmap", "16K", 13824, 11008, 15616, 12544},
		{"mmap", "64K", 19840, 15616, 21760, 17408},
		{"mmap", "256K", 33152, 28928, 36352, 31744},
		{"mmap", "1M", 95616, 84608, 117504, 108032},
		{"munmap", "4K", 11008, 8448, 13568, 11264},
		{"munmap", "16K", 10752, 8448, 12288, 9472},
		{"munmap", "64K", 12032, 9728, 13824, 10752},
		{"munmap", "256K", 15360, 12800, 17152, 14592},
		{"munmap", "1M", 27648, 24832, 30976, 26880},
	}
}

// PostedSizes are its sizes in bytes.
func PostedSizes() []int { return []int{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} }

// MmapReport is a report on MapRow at PostedSizes.
type MmapReport struct {
	Report
	Posted []Posted `json:"posted"`
}

// Write prints tables in the layout of the posted one, whose figures stand to
// the right: for each call, every configuration against the first. With
// one configuration there is nothing to compare.
func (r *MmapReport) Write(w io.Writer, f Format) error {
	if err := r.writeHost(w); err != nil {
		return err
	}
	for i := range r.Placements {
		p := &r.Placements[i]
		if _, err := fmt.Fprintf(w, "\n%s; %d repeats, their medians; in brackets the range over them\n", p.place(), p.Repeats); err != nil {
			return err
		}
		for _, call := range []string{"mmap", "munmap"} {
			for other := range max(1, len(p.Results[0].On)-1) {
				title, g := r.grid(p, call, other+1)
				if f == Text {
					title += "\n" + strings.Repeat("-", len(title))
				}
				if _, err := fmt.Fprintf(w, "\n%s\n", title); err != nil {
					return err
				}
				if f == Markdown {
					if _, err := fmt.Fprintln(w); err != nil {
						return err
					}
				}
				if err := g.write(w, f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// grid compares configuration number other with the first.
func (r *MmapReport) grid(p *Placement, call string, other int) (title string, g *grid) {
	on := p.Results[0].On
	g = &grid{head: []string{"size"}}
	base := on[0].Variant
	if other < len(on) {
		with := on[other].Variant
		title = fmt.Sprintf("%s() with %s and with %s -- ns/call", call, with, base)
		g.head = append(g.head, with+" med", base+" med", "delta", "ratio", with+" p99", base+" p99")
	} else {
		title = fmt.Sprintf("%s() with %s -- ns/call", call, base)
		g.head = append(g.head, base+" med", base+" p99")
	}
	g.head = append(g.head, "posted: WITH med", "WITHOUT med", "delta", "WITH p99", "WITHOUT p99")
	for _, s := range r.Posted {
		res := p.find(s.Call + " " + s.Size)
		if res == nil || s.Call != call {
			continue
		}
		row := []string{s.Size}
		b := res.On[0]
		if other < len(on) {
			v := res.On[other]
			row = append(row, spread(v.Median, "%.0f"), spread(b.Median, "%.0f"), delta(difference(v.repeats, b.repeats).Median, v.Ratio.Median),
				spread(v.Ratio, "%.2f"), ns(v.P99.Median), ns(b.P99.Median))
		} else {
			row = append(row, spread(b.Median, "%.0f"), ns(b.P99.Median))
		}
		row = append(row, ns(s.With), ns(s.Without), delta(s.With-s.Without, s.With/s.Without), ns(s.WithP99), ns(s.WithoutP99))
		g.add(row...)
	}
	return title, g
}

// find is the result of a metric; nil if it has not been measured.
func (p *Placement) find(metric string) *Result {
	for i := range p.Results {
		if p.Results[i].Metric == metric {
			return &p.Results[i]
		}
	}
	return nil
}

// delta is a difference and the ratio beside it as the posted table has them.
func delta(d, ratio float64) string { return fmt.Sprintf("%+.0f (%+.0f%%)", d, 100*(ratio-1)) }
