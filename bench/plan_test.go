package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script is a variant that answers with made-up samples and notes its turns.
type script struct {
	name  string
	log   *[]string
	ticks func(round int) []uint64
}

func (s *script) Name() string { return s.name }
func (s *script) Close() error { return nil }
func (s *script) Run(_ context.Context, r *Row, rounds int) ([]byte, error) {
	*s.log = append(*s.log, fmt.Sprintf("%s %s %d", r.Name, s.name, rounds))
	var b strings.Builder
	for round := range rounds {
		for _, n := range s.ticks(round) {
			fmt.Fprintf(&b, "%016x\n", n)
		}
	}
	return []byte(b.String()), nil
}

func TestPlan(t *testing.T) {
	row := &Row{Name: "r", Metrics: []string{"in", "out"}, Rounds: 25, Block: 10, Warm: 2, per: 5}
	var log []string
	ticks := func(in, out uint64) func(int) []uint64 {
		return func(round int) []uint64 {
			if round < row.Warm {
				return []uint64{1 << 30, 1 << 30} // must not count
			}
			return []uint64{in, out}
		}
	}
	steps := 0
	p := Plan{
		Rows:     []*Row{row},
		Variants: []Variant{&script{"a", &log, ticks(110, 210)}, &script{"b", &log, ticks(210, 210)}},
		Repeats:  2,
		Progress: func(done, total int, _, _ string) {
			if done != steps || total != 12 {
				t.Errorf("step %d: told %d of %d", steps, done, total)
			}
			steps++
		},
	}
	got, err := p.Run(t.Context(), Clock{GHz: 2, Overhead: 10})
	if err != nil {
		t.Fatal(err)
	}
	// Each block begins with another variant than the last, each repeat too.
	wantLog := []string{
		"r a 12", "r b 12", "r b 12", "r a 12", "r a 7", "r b 7",
		"r b 12", "r a 12", "r a 12", "r b 12", "r b 7", "r a 7",
	}
	if diff := cmp.Diff(wantLog, log); diff != "" {
		t.Errorf("turns: want (-), got (+)\n%s", diff)
	}
	same := func(v float64) Figure { return Figure{v, v, v} }
	value := func(name string, ns, ratio float64) Value {
		return Value{Variant: name, Samples: 50, Median: same(ns), P99: same(ns), Mean: same(ns), Ratio: same(ratio)}
	}
	want := []Result{
		{Row: "r", Metric: "in", On: []Value{value("a", 10, 1), value("b", 20, 2)}},
		{Row: "r", Metric: "out", On: []Value{value("a", 20, 1), value("b", 20, 1)}},
	}
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".repeats" }, cmp.Ignore())); diff != "" {
		t.Errorf("results: want (-), got (+)\n%s", diff)
	}
}

func TestBadOutput(t *testing.T) {
	row := &Row{Name: "r", Metrics: []string{"m"}}
	for _, c := range []struct {
		out  string
		want string
	}{
		{"", "0 samples, not 2"},
		{"1\n2\n3\n", "3 samples, not 2"},
		{"1\nmmap: error 12\n", "line 2 of the output is no sample"},
	} {
		_, err := run(t.Context(), fixed(c.out), row, 2)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q in it", c.out, err, c.want)
		}
	}
	// A terminal in between may add carriage returns.
	got, err := run(t.Context(), fixed("0a\r\nff\r\n"), row, 2)
	if diff := cmp.Diff([]uint64{10, 255}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// fixed is a variant with always the same output.
type fixed string

func (fixed) Name() string { return "fixed" }
func (fixed) Close() error { return nil }
func (f fixed) Run(context.Context, *Row, int) ([]byte, error) {
	return []byte(f), nil
}

func TestHostOnlyRowNeedsTheHost(t *testing.T) {
	p := Plan{Rows: []*Row{{Name: "h", Metrics: []string{"h"}, Rounds: 1, Block: 1, HostOnly: true}}, Variants: []Variant{fixed("")}, Repeats: 1}
	if _, err := p.Run(t.Context(), Clock{GHz: 1}); err == nil || !strings.Contains(err.Error(), "only for the host") {
		t.Errorf("error %v", err)
	}
}
