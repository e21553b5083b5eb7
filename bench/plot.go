package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Geometry of a plot, in pixels.
const (
	panelW, panelH = 420, 320 // one diagram with its margins
	marginL        = 64
	marginR        = 16
	marginT        = 44
	marginB        = 40
	headH          = 40 // above the first panels
	legendH        = 28
)

// palette is Okabe and Ito's, which people with any colour vision can tell
// apart.
var palette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}

// Plot draws the report as SVG: for each placement a diagram of mmap and one of
// munmap, with the median of every configuration over the sizes and a line from
// there up to the 99th percentile. Both axes are logarithmic.
func (r *MmapReport) Plot(w io.Writer) error {
	width, height := 2*panelW, headH+len(r.Placements)*panelH+legendH
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	text(&b, float64(width)/2, 24, "middle", fmt.Sprintf("mmap and munmap, µs per call: median, line up to p99 (%s, %s)", r.Host.CPU, r.Host.Kernel))
	for i := range r.Placements {
		p := &r.Placements[i]
		for j, call := range []string{"mmap", "munmap"} {
			r.panel(&b, p, call, float64(j*panelW), float64(headH+i*panelH))
		}
	}
	x := float64(marginL)
	for i, v := range r.Placements[0].Results[0].On {
		y := float64(height - legendH/2)
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", x, y-10, palette[i%len(palette)])
		text(&b, x+18, y, "start", v.Variant)
		x += 34 + 8*float64(len(v.Variant))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func text(b *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}

func line(b *strings.Builder, x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
}

// panel draws one diagram with its upper left corner at x0, y0.
func (r *MmapReport) panel(b *strings.Builder, p *Placement, call string, x0, y0 float64) {
	var sizes []string
	var rows []*Result
	lo, hi := math.Inf(1), 0.0
	for _, s := range r.Posted {
		res := p.find(s.Call + " " + s.Size)
		if s.Call != call || res == nil {
			continue
		}
		sizes, rows = append(sizes, s.Size), append(rows, res)
		for _, v := range res.On {
			lo, hi = min(lo, v.Median.Median), max(hi, v.P99.Median)
		}
	}
	left, right := x0+marginL, x0+panelW-marginR
	top, bottom := y0+marginT, y0+panelH-marginB
	ticks := axis(lo, hi)
	first, last := math.Log(ticks[0]), math.Log(ticks[len(ticks)-1])
	atX := func(i int) float64 { return left + (right-left)*(float64(i)+0.5)/float64(len(sizes)) }
	atY := func(v float64) float64 { return bottom - (bottom-top)*(math.Log(v)-first)/(last-first) }

	text(b, (left+right)/2, top-12, "middle", call+"() - "+p.place())
	for _, t := range ticks {
		line(b, left, atY(t), right, atY(t), `stroke="#ddd"`)
		text(b, left-6, atY(t)+4, "end", fmt.Sprintf("%g", t/1000))
	}
	line(b, left, bottom, right, bottom, `stroke="#000"`)
	for i, s := range sizes {
		text(b, atX(i), bottom+18, "middle", s)
	}
	for v := range rows[0].On {
		colour := palette[v%len(palette)]
		shift := 5 * (float64(v) - float64(len(rows[0].On)-1)/2) // so that marks do not hide each other
		var points []string
		for i, res := range rows {
			x, y := atX(i)+shift, atY(res.On[v].Median.Median)
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, colour)
			line(b, x, y, x, atY(res.On[v].P99.Median), fmt.Sprintf(`stroke="%s" stroke-width="1"`, colour))
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(points, " "), colour)
	}
}

// axis gives the ticks 1, 2, 5, 10, ... from the last at or below lo to the
// first at or above hi.
func axis(lo, hi float64) []float64 {
	var ticks []float64
	for decade := math.Pow(10, math.Floor(math.Log10(max(lo, 1)))); ; decade *= 10 {
		for _, m := range []float64{1, 2, 5} {
			t := m * decade
			if t <= lo {
				ticks = ticks[:0]
			}
			ticks = append(ticks, t)
			if t >= hi && len(ticks) > 1 {
				return ticks
			}
		}
	}
}
