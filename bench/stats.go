package bench

import "slices"

// summary is what one repeat says about a metric, in nanoseconds per operation.
type summary struct {
	median, p99, mean float64
	n                 int
}

// summarize sorts the samples.
func summarize(samples []float64) summary {
	slices.Sort(samples)
	var sum float64
	for _, s := range samples {
		sum += s
	}
	return summary{
		median: quantile(samples, 0.5),
		p99:    quantile(samples, 0.99),
		mean:   sum / float64(len(samples)),
		n:      len(samples),
	}
}

// quantile is the smallest of the sorted samples that the share q of them does
// not exceed.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Figure is a figure over the repeats: their median, and the least and the
// greatest of them.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func figure(repeats []float64) Figure {
	slices.Sort(repeats)
	return Figure{quantile(repeats, 0.5), repeats[0], repeats[len(repeats)-1]}
}

// Result is one operation on all variants.
type Result struct {
	Row    string  `json:"row"`
	Metric string  `json:"metric"`
	On     []Value `json:"on"` // the baseline first
}

// Value is what an operation costs on a variant, in nanoseconds. Each figure is
// over the repeats: Median over their medians, and so on.
type Value struct {
	Variant string `json:"variant"`
	Samples int    `json:"samples"`
	Median  Figure `json:"median_ns"`
	P99     Figure `json:"p99_ns"`
	Mean    Figure `json:"mean_ns"`
	// Ratio is this median to the baseline's of the same repeat.
	Ratio Figure `json:"ratio"`

	repeats []summary
}

// results puts the repeats of a row together. The cells are in the order of
// variants and, within one, of metrics.
func (r *Row) results(cells []*cell) []Result {
	list := make([]Result, r.samples())
	for i, c := range cells {
		res := &list[i%r.samples()]
		res.Row, res.Metric = r.Name, c.metric
		v := Value{Variant: c.variant, repeats: c.repeats}
		base := c.repeats
		if len(res.On) > 0 {
			base = res.On[0].repeats
		}
		v.Ratio = ratio(c.repeats, base)
		v.Median = over(c.repeats, func(s summary) float64 { return s.median })
		v.P99 = over(c.repeats, func(s summary) float64 { return s.p99 })
		v.Mean = over(c.repeats, func(s summary) float64 { return s.mean })
		for _, s := range c.repeats {
			v.Samples += s.n
		}
		res.On = append(res.On, v)
	}
	return list
}

func over(repeats []summary, of func(summary) float64) Figure {
	list := make([]float64, len(repeats))
	for i, s := range repeats {
		list[i] = of(s)
	}
	return figure(list)
}

// ratio compares medians, repeat by repeat.
func ratio(a, base []summary) Figure {
	return pairs(a, base, func(a, b float64) float64 { return a / b })
}

// difference subtracts medians, repeat by repeat.
func difference(a, base []summary) Figure {
	return pairs(a, base, func(a, b float64) float64 { return a - b })
}

func pairs(a, b []summary, of func(a, b float64) float64) Figure {
	list := make([]float64, len(a))
	for i := range a {
		list[i] = of(a[i].median, b[i].median)
	}
	return figure(list)
}
