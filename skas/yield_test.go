package skas

import (
	"testing"
	"time"
)

// Where others want the CPU, a yield for each proof made a guest that unmapped 64K
// at a time five times slower.
func TestYieldOnACrowdedCPU(t *testing.T) {
	var at, turn time.Duration
	yields := 0
	var y yield
	give := func(n int) int {
		before := yields
		for range n {
			y.giveWay(func() { yields++; at += turn }, func() time.Duration { return at })
		}
		return yields - before
	}
	turn = 10 * time.Microsecond
	if got := give(100); got != 100 {
		t.Errorf("%d yields of 100 where they are short", got)
	}
	turn = 3 * time.Millisecond
	if got := give(10 * (1 + yieldSkip)); got != 10 {
		t.Errorf("%d yields where they are long, not 10", got)
	}
	turn = 10 * time.Microsecond
	if give(yieldSkip); give(100) != 100 {
		t.Error("no way back")
	}
}
