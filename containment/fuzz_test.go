package containment

import (
	"flag"
	"testing"
	"time"

	"goskas/guard"
	"goskas/internal/testkit"
)

var (
	fuzzFor  = flag.Duration("containment.fuzz", 3*time.Second, "how long to fuzz stubs")
	fuzzSeed = flag.Uint64("containment.seed", 0, "seed of the first stub; 0 takes the time")
)

// No witness is read or changed, and nothing hangs, whatever is in the registers
// and wherever the program enters a sealed stub.
func TestKernelFuzzSealed(t *testing.T) {
	testkit.Need(t, guard.Sealed.Needs...)
	testkit.NoLeaks(t)
	seed := *fuzzSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	r, err := Fuzz(FuzzOptions{Guard: guard.Sealed, Seed: seed, For: *fuzzFor})
	if err != nil {
		t.Fatalf("from seed %d on: %v", seed, err)
	}
	t.Logf("from seed %d on: %v", seed, r)
	if len(r.Breaches) > 0 {
		t.Errorf("%v", r)
	}
	if r.Killed == 0 || r.Killed == r.Jumps {
		t.Errorf("%v: the programs do nothing of interest", r)
	}
}

// Under none the same programs find the holes, or the fuzzer would not.
func TestKernelFuzzNoneBreaches(t *testing.T) {
	testkit.NoLeaks(t)
	r, err := Fuzz(FuzzOptions{Guard: guard.None, Seed: 1, Stubs: 3000, For: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if len(r.Breaches) == 0 {
		t.Errorf("no hole found: %v", r)
	}
}
