package bench

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Format is how tables are written.
type Format int

// Plain columns, or Markdown.
const (
	Text Format = iota
	Markdown
)

// grid is a table: the first column to the left, the others to the right.
type grid struct {
	head []string
	rows [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) write(w io.Writer, f Format) error {
	width := make([]int, len(g.head))
	for _, row := range append([][]string{g.head}, g.rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			switch {
			case f == Markdown && i == 0:
				b.WriteString("| " + c + pad)
			case f == Markdown:
				b.WriteString(" | " + pad + c)
			case i == 0:
				b.WriteString(c + pad)
			default:
				b.WriteString("  " + pad + c)
			}
		}
		if f == Markdown {
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	line(g.head)
	if f == Markdown {
		b.WriteString("| " + strings.Repeat("-", width[0]))
		for _, n := range width[1:] {
			b.WriteString(" | " + strings.Repeat("-", n-1) + ":")
		}
		b.WriteString(" |\n")
	}
	for _, row := range g.rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ns is a duration of an operation as tables show it: whole nanoseconds.
func ns(v float64) string { return fmt.Sprintf("%.0f", v) }

// spread is a figure with the range that it comes from.
func spread(f Figure, format string) string {
	return fmt.Sprintf(format+" ["+format+"-"+format+"]", f.Median, f.Min, f.Max)
}
