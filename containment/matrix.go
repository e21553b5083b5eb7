package containment

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Matrix is what cases came to under guards.
type Matrix struct {
	Guards  []string `json:"guards"`
	Results []Result `json:"results"`

	cases []Case
}

// OK reports whether every outcome is the expected one.
func (m *Matrix) OK() bool { return len(m.Failures()) == 0 }

// Failures lists the outcomes that are not.
func (m *Matrix) Failures() (list []Result) {
	for _, r := range m.Results {
		if !r.OK() {
			list = append(list, r)
		}
	}
	return list
}

// row gives a case's results in the order of the guards.
func (m *Matrix) row(c Case) (row []Result) {
	for _, r := range m.Results {
		if r.Case == c.Name {
			row = append(row, r)
		}
	}
	return row
}

// Write prints the matrix as a table, and each outcome that is not the expected
// one.
func (m *Matrix) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "case\tpromise\t%s\n", strings.Join(m.Guards, "\t"))
	for _, c := range m.cases {
		fmt.Fprintf(tw, "%s\t%s", c.Name, c.Promise)
		for _, r := range m.row(c) {
			fmt.Fprintf(tw, "\t%s", r.cell())
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, r := range m.Failures() {
		if _, err := fmt.Fprintln(w, r.Failure()); err != nil {
			return err
		}
	}
	return nil
}

func (r Result) cell() string {
	switch {
	case r.Err != "":
		return "error"
	case !r.OK():
		return string(r.Verdict) + "!"
	}
	return string(r.Verdict)
}

// Failure says what is wrong with an outcome, and how to see it again.
func (r Result) Failure() string {
	again := fmt.Sprintf("skas containment --guard %s --case '^%s$'", r.Guard, r.Case)
	if r.Err != "" {
		return fmt.Sprintf("%s under %s: %s (%s)", r.Case, r.Guard, r.Err, again)
	}
	return fmt.Sprintf("%s under %s: %s, not %s: %s (%s)", r.Case, r.Guard, r.Verdict, r.Want, r.Why, again)
}

// WriteJSON prints the matrix as JSON.
func (m *Matrix) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(m)
}

// Markdown is the matrix of what is expected, for the README: `skas containment`
// and the tests hold it against what happens. Below it are the notes of cases
// that a guard which checks does not contain.
func Markdown(guards []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| case | promise | what it does | %s |\n", strings.Join(guards, " | "))
	fmt.Fprintf(&b, "| --- | --- | --- |%s\n", strings.Repeat(" --- |", len(guards)))
	var notes []string
	for _, c := range Cases() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |", c.Name, c.Promise, c.About)
		mark := ""
		if c.Note != "" {
			notes = append(notes, fmt.Sprintf("%d. `%s`: %s", len(notes)+1, c.Name, c.Note))
			mark = fmt.Sprintf(" (%d)", len(notes))
		}
		for _, g := range guards {
			v := string(c.Want.named(g))
			if v == string(Breached) {
				v = "**" + v + "**"
			}
			if v == string(Contained) {
				v = "denied or killed"
			}
			fmt.Fprintf(&b, " %s%s |", v, mark)
			mark = ""
		}
		b.WriteByte('\n')
	}
	if len(notes) > 0 {
		b.WriteByte('\n')
		b.WriteString(strings.Join(notes, "\n"))
		b.WriteByte('\n')
	}
	return b.String()
}
