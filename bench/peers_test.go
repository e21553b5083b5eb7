package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

// examplePeers has an operation for each verdict, and a placement without a loss.
func examplePeers() *PeersReport {
	names := []string{"native", "none", "sealed", UMLSeccomp, UMLPtrace}
	p := NewPlacement([]Result{
		made(Getppid, "getppid", names, 126, 6500, 6000, 7075, 12413),
		made("fork", "fork+wait", names, 115390, 420000, 430000, 414361, 539434),
		made("pipe", "pipe ping-pong", names, 4447, 35000, 35000, 35272, 50817),
	}, 3)
	p.Pinned, p.CPU = true, 1
	// One repeat in which ours was slow.
	p.Results[2].On[2].repeats[1].median = 40000
	q := NewPlacement([]Result{made(Getppid, "getppid", names, 126, 6500, 6000, 53138, 60000)}, 3)
	q.CPU = -1
	r := &PeersReport{
		Report: Report{Host: host, Clock: Clock{GHz: 2.5, Overhead: 50}, Placements: []Placement{p, q}},
		UML:    "7.2um1", Ours: "sealed", Peer: UMLSeccomp,
	}
	r.Judge()
	return r
}

func TestPeersReport(t *testing.T) {
	for name, write := range map[string]func(io.Writer, *PeersReport) error{
		"peers.txt": func(w io.Writer, r *PeersReport) error { return r.Write(w, Text) },
		"peers.md":  func(w io.Writer, r *PeersReport) error { return r.Write(w, Markdown) },
		"peers.json": func(w io.Writer, r *PeersReport) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	} {
		var b bytes.Buffer
		if err := write(&b, examplePeers()); err != nil {
			t.Fatal(err)
		}
		testkit.Golden(t, filepath.Join("testdata", name), b.String())
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		ratio Figure
		want  Verdict
	}{
		{Figure{0.5, 0.4, 0.99}, Faster},
		{Figure{0.5, 0.4, 1}, Unclear},
		{Figure{1.5, 0.9, 2}, Unclear},
		{Figure{1, 1, 1}, Slower},
		{Figure{1.5, 1.1, 2}, Slower},
	} {
		if got := judge(c.ratio); got != c.want {
			t.Errorf("%v: %s, want %s", c.ratio, got, c.want)
		}
	}
}

func TestPeerRows(t *testing.T) {
	var names, metrics []string
	for _, r := range PeerRows() {
		if slices.Contains(names, r.Name) {
			t.Errorf("%s is there twice", r.Name)
		}
		names = append(names, r.Name)
		for _, m := range r.Metrics {
			if slices.Contains(metrics, m) {
				t.Errorf("%s is measured twice", m)
			}
			metrics = append(metrics, m)
		}
	}
	want := []string{"getppid", "touch",
		"map-4K", "map-16K", "map-64K", "map-256K", "map-1M",
		"populate-4K", "populate-16K", "populate-64K", "populate-256K", "populate-1M",
		"fork", "exec", "pipe", "shell"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("want (-), got (+)\n%s", diff)
	}
}

// Each repeat is prepared, before anything of it is measured.
func TestPlanPrepares(t *testing.T) {
	row := &Row{Name: "r", Metrics: []string{"m"}, Rounds: 2, Block: 1}
	var log []string
	p := Plan{
		Rows:     []*Row{row},
		Variants: []Variant{&script{"a", &log, func(int) []uint64 { return []uint64{1} }}},
		Repeats:  2,
		Prepare: func() error {
			log = append(log, "prepare")
			return nil
		},
	}
	if _, err := p.Run(t.Context(), Clock{GHz: 1}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"prepare", "r a 1", "r a 1", "prepare", "r a 1", "r a 1"}, log); diff != "" {
		t.Errorf("want (-), got (+)\n%s", diff)
	}
	bad := errors.New("bad")
	p.Prepare = func() error { return bad }
	if _, err := p.Run(t.Context(), Clock{GHz: 1}); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}
