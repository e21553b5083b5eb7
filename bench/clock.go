package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// Clock converts differences of the time stamp counter to time.
type Clock struct {
	GHz float64 `json:"ghz"`
	// Overhead is what two stamps in a row are apart, in ticks; it is taken
	// off every sample.
	Overhead uint64 `json:"overhead_ticks"`
}

// nanoseconds is the duration of one of n operations in a sample.
func (c Clock) nanoseconds(ticks uint64, n int) float64 {
	return float64(ticks-min(ticks, c.Overhead)) / c.GHz / float64(n)
}

// ErrClock says that the host's time stamp counter cannot be used as a clock.
var ErrClock = errors.New("the time stamp counter of this host is no clock")

// calibrateFor is how long the counter is compared with CLOCK_MONOTONIC. A
// comparison is good to about 100 ns.
const calibrateFor = 100 * time.Millisecond

// Calibrate measures the rate of the host's time stamp counter. It fails with
// ErrClock if that is not constant, or stops in idle CPUs.
func Calibrate(ctx context.Context) (Clock, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Clock{}, fmt.Errorf("look for a time stamp counter: %w", err)
	}
	flags := strings.Fields(cpuinfo(info, "flags"))
	for _, need := range []string{"constant_tsc", "nonstop_tsc"} {
		if !slices.Contains(flags, need) {
			return Clock{}, fmt.Errorf("%w: the CPU has no %s", ErrClock, need)
		}
	}
	n, err := NewNative([]*Row{&clockRow})
	if err != nil {
		return Clock{}, err
	}
	defer n.Close()
	first, _, err := readings(ctx, n)
	if err != nil {
		return Clock{}, err
	}
	time.Sleep(calibrateFor)
	second, gaps, err := readings(ctx, n)
	if err != nil {
		return Clock{}, err
	}
	elapsed := second.ns - first.ns
	if elapsed <= 0 || second.ticks <= first.ticks {
		return Clock{}, fmt.Errorf("%w: %d ticks in %d ns", ErrClock, int64(second.ticks-first.ticks), elapsed)
	}
	return Clock{
		GHz:      float64(second.ticks-first.ticks) / float64(elapsed),
		Overhead: gaps[len(gaps)/2],
	}, nil
}

// clockRow reads both clocks: two stamps in a row, then CLOCK_MONOTONIC between
// two more.
var clockRow = Row{
	Name: "clock", Metrics: []string{"gap", "before", "seconds", "nanoseconds", "after"},
	setup: func(s source) { s.Reserve("time", 16, 8) },
	round: func(s source) {
		s.timed(func() {})
		s.stamp()
		s.store(asm.RAX)
		s.Sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, label("time"))
		s.stamp()
		s.Mov(8, asm.RBX, asm.RAX)
		s.Lea(asm.RSI, asm.At("time"))
		s.Mov(8, asm.RAX, asm.Ptr(asm.RSI, 0))
		s.store(asm.RAX)
		s.Mov(8, asm.RAX, asm.Ptr(asm.RSI, 8))
		s.store(asm.RAX)
		s.store(asm.RBX)
	},
}

const clockRounds = 100

// reading is one moment on both clocks.
type reading struct {
	ticks uint64
	ns    int64
}

// readings runs the clock program. It returns the reading with the two stamps
// closest together, and the sorted differences of stamps in a row.
func readings(ctx context.Context, n *Native) (reading, []uint64, error) {
	rounds, err := run(ctx, n, &clockRow, clockRounds)
	if err != nil {
		return reading{}, nil, err
	}
	var best reading
	width := ^uint64(0)
	var gaps []uint64
	for round := range slices.Chunk(rounds, clockRow.samples()) {
		gaps = append(gaps, round[0])
		before, after := round[1], round[4]
		if after-before < width {
			width = after - before
			best = reading{before + width/2, int64(round[2])*1e9 + int64(round[3])}
		}
	}
	slices.Sort(gaps)
	return best, gaps, nil
}
