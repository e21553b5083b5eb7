package bench

import (
	"fmt"
	"io"
	"strings"
)

// PeersReport compares a configuration of ours with real User Mode Linux.
type PeersReport struct {
	Report
	// UML is the version of the package that real UML came in.
	UML string `json:"uml"`
	// Ours is compared with Peer; both are names of variants.
	Ours string `json:"ours"`
	Peer string `json:"peer"`
}

// Contest is one operation of ours against the peer's.
type Contest struct {
	Metric string `json:"metric"`
	// Ratio is our median to the peer's of the same repeat.
	Ratio   Figure  `json:"ratio"`
	Verdict Verdict `json:"verdict"`
}

// Verdict says who is quicker.
type Verdict string

// Unclear is what no repeat contradicts but not all confirm.
const (
	Faster  Verdict = "faster"  // ours, in every repeat
	Slower  Verdict = "slower"  // ours, or not faster, in every repeat
	Unclear Verdict = "unclear" // the repeats differ
)

func judge(ratio Figure) Verdict {
	switch {
	case ratio.Max < 1:
		return Faster
	case ratio.Min >= 1:
		return Slower
	}
	return Unclear
}

// Judge fills in who is quicker in every placement. Both have to be among the
// variants.
func (r *PeersReport) Judge() {
	for i := range r.Placements {
		p := &r.Placements[i]
		p.Contest = nil
		for _, res := range p.Results {
			f := ratio(res.on(r.Ours).repeats, res.on(r.Peer).repeats)
			p.Contest = append(p.Contest, Contest{res.Metric, f, judge(f)})
		}
	}
}

// on is the value on a variant.
func (r *Result) on(variant string) Value {
	for _, v := range r.On {
		if v.Variant == variant {
			return v
		}
	}
	panic("BUG: " + r.Metric + " has not been measured on " + variant)
}

// Write prints the report: a table for each placement, and below it the
// operations in which ours does not win.
func (r *PeersReport) Write(w io.Writer, f Format) error {
	if err := r.writeHost(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "Real User Mode Linux is the package's %s\n", r.UML); err != nil {
		return err
	}
	for i := range r.Placements {
		p := &r.Placements[i]
		place := p.place()
		if !p.Pinned {
			place = "Not pinned (a vCPU of ours and its stub share a CPU)"
		}
		if _, err := fmt.Fprintf(w, "\n%s; %d repeats, User Mode Linux booted for each; median ns per operation, times native; ratio of medians [range over repeats]\n\n",
			place, p.Repeats); err != nil {
			return err
		}
		if err := r.grid(p).write(w, f); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", r.summary(p)); err != nil {
			return err
		}
	}
	return nil
}

func (r *PeersReport) grid(p *Placement) *grid {
	g := &grid{head: []string{"operation"}}
	for i, v := range p.Results[0].On {
		g.head = append(g.head, v.Variant)
		if i > 0 {
			g.head = append(g.head, "x")
		}
	}
	g.head = append(g.head, r.Ours+" : "+r.Peer, r.Ours+" is")
	for i, res := range p.Results {
		row := []string{res.Metric}
		for j, v := range res.On {
			row = append(row, ns(v.Median.Median))
			if j > 0 {
				row = append(row, fmt.Sprintf("%.1f", v.Ratio.Median))
			}
		}
		c := p.Contest[i]
		g.add(append(row, spread(c.Ratio, "%.2f"), string(c.Verdict))...)
	}
	return g
}

// summary names the operations in which ours does not win.
func (r *PeersReport) summary(p *Placement) string {
	var not []string
	for _, c := range p.Contest {
		if c.Verdict != Faster {
			not = append(not, fmt.Sprintf("%s (%s, %s)", c.Metric, spread(c.Ratio, "%.2f"), c.Verdict))
		}
	}
	if len(not) == 0 {
		return fmt.Sprintf("%s beats %s in every operation and repeat.", r.Ours, r.Peer)
	}
	return fmt.Sprintf("%s does not beat %s in %d of %d operations: %s.",
		r.Ours, r.Peer, len(not), len(p.Contest), strings.Join(not, ", "))
}
