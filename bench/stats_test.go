package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // unsorted: 100 down to 1
	}
	for _, c := range []struct {
		name    string
		samples []float64
		want    summary
	}{
		{"one", []float64{7}, summary{7, 7, 7, 1}},
		{"odd", []float64{3, 1, 2}, summary{2, 3, 2, 3}},
		{"hundred", hundred, summary{51, 100, 50.5, 100}},
		{"outlier", append(make([]float64, 999), 1000), summary{0, 0, 1, 1000}},
	} {
		got := summarize(c.samples)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(summary{})); diff != "" {
			t.Errorf("%s: want (-), got (+)\n%s", c.name, diff)
		}
	}
}

// A ratio compares what was measured together: here the host was twice as slow
// in the second repeat, for both.
func TestRatioIsFormedWithinRepeats(t *testing.T) {
	base := []summary{{median: 10}, {median: 20}, {median: 10}}
	other := []summary{{median: 15}, {median: 30}, {median: 16}}
	want := Figure{Median: 1.5, Min: 1.5, Max: 1.6}
	if diff := cmp.Diff(want, ratio(other, base)); diff != "" {
		t.Error(diff)
	}
}
