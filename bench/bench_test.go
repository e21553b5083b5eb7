package bench

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"goskas/arch/amd64"
	"goskas/guest"
	"goskas/internal/testkit"

	"golang.org/x/sys/unix"
)

// allRows are the rows of every benchmark, but for the long loop of the shell.
func allRows() []*Row {
	rows := slices.DeleteFunc(Rows(), func(r *Row) bool { return r.Name == "shell" })
	for _, size := range PostedSizes() {
		rows = append(rows, MapRow(size))
	}
	return rows
}

// variants are the host and a guest, with the programs of rows.
func variants(t testing.TB, rows []*Row) []Variant {
	t.Helper()
	testkit.NoLeaks(t)
	n, err := NewNative(rows)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMachine(guest.Config{Arch: amd64.New(), Root: "/"}, Config{Name: "none"}, rows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(n.dir); !os.IsNotExist(err) {
			t.Errorf("programs left behind in %s: %v", n.dir, err)
		}
	})
	return []Variant{n, m}
}

func each(t testing.TB, rows []*Row, do func(*Row, Variant)) {
	p := Plan{Variants: variants(t, rows)}
	for _, r := range rows {
		for _, v := range p.variants(r) {
			do(r, v)
		}
	}
}

func TestGuestRows(t *testing.T) {
	each(t, append(allRows(), shellRow(2)), func(r *Row, v Variant) {
		t.Run(r.Name+"/"+v.Name(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ticks, err := run(ctx, v, r, 8)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range ticks {
				// 2^40 ticks are minutes on any CPU.
				if n == 0 || n > 1<<40 {
					t.Errorf("a sample of %d ticks", n)
				}
			}
		})
	})
}

// BenchmarkRow measures every row natively and in a guest; ns/op is the median.
func BenchmarkRow(b *testing.B) {
	clock, err := Calibrate(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	each(b, allRows(), func(r *Row, v Variant) {
		b.Run(r.Name+"/"+v.Name(), func(b *testing.B) {
			p := Plan{Rows: []*Row{r}, Variants: []Variant{v}, Rounds: b.N, Repeats: 1}
			results, err := p.Run(b.Context(), clock)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(results[0].On[0].Median.Median, "ns/op")
			b.ReportMetric(results[0].On[0].P99.Median, "p99-ns")
			for _, res := range results[1:] {
				b.ReportMetric(res.On[0].Median.Median, strings.Fields(res.Metric)[0]+"-ns")
			}
		})
	})
}

// What a program says before it gives up is in the error, wherever it ran.
func TestGuestFailureIsReported(t *testing.T) {
	rows := []*Row{{Name: "bad", Metrics: []string{"bad"}, round: func(s source) {
		s.timed(func() { s.Sys(unix.SYS_CLOSE, 77) })
		s.Check("close")
	}}}
	each(t, rows, func(r *Row, v Variant) {
		_, err := run(t.Context(), v, r, 2)
		want := "bad on " + v.Name() + ": exit status 99: close: error 9"
		if err == nil || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	})
}

// A program that hangs, children and all, ends with the context.
func TestGuestHangEndsWithContext(t *testing.T) {
	rows := []*Row{{Name: "hang", Metrics: []string{"hang"}, setup: func(s source) {
		s.Fork(func() { s.While(func(string) {}) })
		s.Wait(-1)
	}, round: func(source) {}}}
	each(t, rows, func(r *Row, v Variant) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := run(ctx, v, r, 2)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
				t.Errorf("%s: error %v", v.Name(), err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: still running", v.Name())
		}
	})
}

func TestKernelClock(t *testing.T) {
	c, err := Calibrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.GHz < 0.1 || c.GHz > 10 {
		t.Errorf("a time stamp counter of %v GHz", c.GHz)
	}
	if c.nanoseconds(c.Overhead, 1) != 0 || c.nanoseconds(0, 1) != 0 {
		t.Error("the overhead is not taken off")
	}
}

func TestKernelPin(t *testing.T) {
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	cpu, unpin, err := Pin()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Error(err)
	}
	if !after.IsSet(cpu) || after.Count() != 1 {
		t.Errorf("%d CPUs left, %d among them: %v", after.Count(), cpu, after.IsSet(cpu))
	}
	if err := unpin(); err != nil {
		t.Error(err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil || after != before {
		t.Errorf("affinity %v after, %v before: %v", after, before, err)
	}
}
