package trace

import (
	"fmt"
	"io"
	"strings"
)

// Differences counts the pairs that are not equal.
func Differences(pairs []Pair) int {
	n := 0
	for _, p := range pairs {
		if !p.Equal() {
			n++
		}
	}
	return n
}

// Write prints pairs side by side, each column width characters wide. Between
// the columns stands what the pair is:
//
//	(blank)  the same
//	~        the same but for an exception, named behind
//	<  >     only on that side
//	|        different; two lines that stand alone at the same place
func Write(w io.Writer, pairs []Pair, width int) error {
	for i := 0; i < len(pairs); {
		run := i
		for run < len(pairs) && !pairs[run].Equal() {
			run++
		}
		if run == i {
			p := pairs[i]
			mark, note := " ", ""
			if len(p.Exceptions) > 0 {
				mark, note = "~", "  ("+strings.Join(p.Exceptions, ", ")+")"
			}
			if err := row(w, p.Left.Text, mark, p.Right.Text+note, width); err != nil {
				return err
			}
			i++
			continue
		}
		if err := alone(w, pairs[i:run], width); err != nil {
			return err
		}
		i = run
	}
	return nil
}

// alone prints a run of lines without a partner, the two sides beside each
// other.
func alone(w io.Writer, pairs []Pair, width int) error {
	var left, right []string
	for _, p := range pairs {
		if p.Left != nil {
			left = append(left, p.Left.Text)
		} else {
			right = append(right, p.Right.Text)
		}
	}
	for i := range max(len(left), len(right)) {
		var l, r string
		mark := "|"
		if i < len(left) {
			l = left[i]
		} else {
			mark = ">"
		}
		if i < len(right) {
			r = right[i]
		} else {
			mark = "<"
		}
		if err := row(w, l, mark, r, width); err != nil {
			return err
		}
	}
	return nil
}

func row(w io.Writer, left, mark, right string, width int) error {
	_, err := fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s %s %s", width, clip(left, width), mark, right), " "))
	return err
}

func clip(s string, width int) string {
	if len(s) <= width {
		return s
	}
	return s[:max(width-1, 0)] + "…"
}
