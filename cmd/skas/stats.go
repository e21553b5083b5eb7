package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"goskas/guest"
)

// printStats prints what a run did, as a table or as JSON.
func printStats(w io.Writer, s guest.Stats, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	k := s.Skas
	row("events", "%d syscalls, %d faults, %d ticks, %d traps", k.Syscalls, k.Faults, k.Ticks, k.Traps)
	row("stubs", "%d started, %d ended, %d killed: %d for what they said or did, %d for a tick not reported",
		k.StubStarts, k.StubDeaths, k.Refused, k.Refused-k.Stalled, k.Stalled)
	row("mode", "%s", k.Mode)
	row("guard", "%s: %d mapping calls passed to the monitor, %d of them denied", k.Guard, k.Notified, k.Denied)
	row("batches", "%d run, %d of them alone; %d entries, %s each, longest %d; %d calls merged",
		k.Batches, k.Flushes, k.Entries, ratio(k.Entries, k.Batches), k.MaxBatch, k.Merged)
	row("faults answered", "%d fresh pages, %d copies, %d file pages and %d around them", s.MinorFaults, s.CowFaults, s.FileFaults, s.FilesAround)
	row("processes", "%d forks, %d execs, %d signals", s.Forks, s.Execs, s.Signals)
	row("switches", "%d between tasks, %d of extended state", s.Switches, k.Switches)
	row("ticks", "%d forwarded to stubs", k.TicksForwarded)
	row("memory", "%d frames in use at the end, %d at most, of %d", s.Memory.InUse, s.Memory.Peak, s.Memory.Total)
	row("time", "%v in guest code, %v in the monitor, %v idle", rounded(s.GuestTime), rounded(s.MonitorTime), rounded(s.IdleTime))
	row("calls", "%s", mostFrequent(s.Calls, 8))
	if len(s.Unknown) > 0 {
		var unknown []string
		for nr, n := range s.Unknown {
			unknown = append(unknown, fmt.Sprintf("%d (%d times)", nr, n))
		}
		slices.Sort(unknown)
		row("not implemented", "%s", strings.Join(unknown, ", "))
	}
	return tw.Flush()
}

func ratio(a, b uint64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(a)/float64(b))
}

// mostFrequent lists the n largest counts.
func mostFrequent(counts map[string]uint64, n int) string {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return int(counts[b]) - int(counts[a])
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, name := range names[:min(n, len(names))] {
		out = append(out, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(out, ", ")
}

// rounded keeps three digits or so.
func rounded(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}
