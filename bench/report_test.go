package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

// made makes results with the given medians; every p99 is twice the median.
func made(row, metric string, names []string, medians ...float64) Result {
	cells := make([]*cell, len(names))
	for i, name := range names {
		c := &cell{metric: metric, variant: name}
		for _, off := range []float64{0, -0.1, 0.2} {
			m := medians[i] * (1 + off)
			c.repeats = append(c.repeats, summary{m, 2 * m, m * 1.25, 100})
		}
		cells[i] = c
	}
	r := &Row{Name: row, Metrics: []string{metric}}
	return r.results(cells)[0]
}

var host = Host{CPU: "Example <9000>", CPUs: 2, Kernel: "Linux 6.18.0"}

func exampleReport() *Report {
	names := []string{"native", "none", "sealed"}
	p := NewPlacement([]Result{
		made(Futex, "futex ping-pong", names[:1], 4300),
		made(Getppid, "getppid", names, 126, 7000, 6500),
		made("map", "mmap 4K", names, 4740, 26666, 20000),
	}, 3)
	p.Pinned, p.CPU = true, 1
	q := NewPlacement(p.Results[1:2], 3)
	q.CPU = -1
	return &Report{Host: host, Clock: Clock{GHz: 2.5, Overhead: 50}, Placements: []Placement{p, q}}
}

func exampleMmap(names ...string) *MmapReport {
	var results []Result
	for i, size := range PostedSizes() {
		m := float64(int(1) << i)
		results = append(results,
			made("mmap", "mmap "+SizeName(size), names, 10000*m, 8000*m),
			made("mmap", "munmap "+SizeName(size), names, 9000*m, 8500*m))
	}
	p := NewPlacement(results, 3)
	p.Pinned = true
	return &MmapReport{
		Report: Report{Host: host, Clock: Clock{GHz: 2.5, Overhead: 50}, Placements: []Placement{p}},
		Posted: PostedTable(),
	}
}

func TestReports(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"report.txt", func(w io.Writer) error { return exampleReport().Write(w, Text) }},
		{"report.md", func(w io.Writer) error { return exampleReport().Write(w, Markdown) }},
		{"report.json", func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(exampleReport())
		}},
		{"mmap-one.txt", func(w io.Writer) error { return exampleMmap("none").Write(w, Text) }},
		{"mmap-two.txt", func(w io.Writer) error { return exampleMmap("none", "sealed").Write(w, Text) }},
		{"mmap-two.md", func(w io.Writer) error { return exampleMmap("none", "sealed").Write(w, Markdown) }},
		{"mmap-two.svg", exampleMmap("none", "sealed").Plot},
	} {
		var b bytes.Buffer
		if err := c.write(&b); err != nil {
			t.Fatal(err)
		}
		testkit.Golden(t, filepath.Join("testdata", c.name), b.String())
	}
}

func TestPlotIsXML(t *testing.T) {
	var b bytes.Buffer
	if err := exampleMmap("a&b", "<c>").Plot(&b); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&b)
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   []float64
	}{
		{3, 40, []float64{2, 5, 10, 20, 50}},
		{10, 10, []float64{10, 20}},
		{900, 1000, []float64{500, 1000}},
		{0.2, 3, []float64{1, 2, 5}},
	} {
		if diff := cmp.Diff(c.want, axis(c.lo, c.hi)); diff != "" {
			t.Errorf("%v to %v: want (-), got (+)\n%s", c.lo, c.hi, diff)
		}
	}
}
