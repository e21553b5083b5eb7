package physmem

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func newMemory(t testing.TB, size int64) *Memory {
	t.Helper()
	m, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func mustAlloc(t testing.TB, m *Memory) PFN {
	t.Helper()
	pfn, err := m.Alloc()
	if err != nil {
		t.Fatal(err)
	}
	return pfn
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

func mustBug(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") {
			t.Errorf("%s: no panic", name)
		}
	}()
	f()
}

func TestNewRefusesSizes(t *testing.T) {
	for _, size := range []int64{-1, 0, MinSize - 1, MaxSize + 1, 1 << 62} {
		if m, err := New(size); err == nil || m != nil || !strings.Contains(err.Error(), "give ") {
			t.Errorf("%d: %v", size, err)
		}
	}
	m := newMemory(t, MinSize+1)
	if got := m.Stats().Total; got != MinSize/PageSize+1 {
		t.Errorf("%d frames", got)
	}
}

// Offsets stay good: the memfd cannot change its size, and is not inherited.
func TestMemfdIsSealed(t *testing.T) {
	m := newMemory(t, MinSize)
	fd, off := m.PhysMapping(3)
	if off != 3*PageSize {
		t.Errorf("offset %d", off)
	}
	for _, size := range []int64{0, MinSize - 1, MinSize + PageSize} {
		if err := unix.Ftruncate(fd, size); err != unix.EPERM {
			t.Errorf("resize to %d: %v", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != unix.EPERM {
		t.Errorf("another seal: %v", err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

// The linear view and the file are the same bytes.
func TestViewIsTheFile(t *testing.T) {
	m := newMemory(t, MinSize)
	pfn := mustAlloc(t, m)
	copy(m.Bytes(pfn), "through the view")
	fd, off := m.PhysMapping(pfn)
	got := make([]byte, 16)
	if _, err := unix.Pread(fd, got, off); err != nil || string(got) != "through the view" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := unix.Pwrite(fd, []byte("back"), off+PageSize-4); err != nil || string(m.Bytes(pfn)[PageSize-4:]) != "back" {
		t.Errorf("%q, %v", m.Bytes(pfn)[PageSize-4:], err)
	}
	if b := m.Bytes(pfn); len(b) != PageSize || cap(b) != PageSize {
		t.Errorf("%d bytes, capacity %d: an append would reach the next frame", len(b), cap(b))
	}
}

func TestOutOfMemory(t *testing.T) {
	m := newMemory(t, MinSize)
	total := m.Stats().Total
	for range total {
		mustAlloc(t, m)
	}
	if _, err := m.Alloc(); !errors.Is(err, ErrNoMemory) {
		t.Errorf("error %v", err)
	}
	if _, err := m.AllocContig(1); !errors.Is(err, ErrNoMemory) {
		t.Errorf("error %v", err)
	}
	if got := m.Stats(); got != (Stats{Total: total, InUse: total, Peak: total}) {
		t.Errorf("%+v", got)
	}
	m.Unref(7)
	if pfn, err := m.Alloc(); pfn != 7 || err != nil {
		t.Errorf("frame %d, %v", pfn, err)
	}
}

func TestContigFindsTheOnlyRun(t *testing.T) {
	m := newMemory(t, MinSize)
	total := m.Stats().Total
	for range total {
		mustAlloc(t, m)
	}
	for _, pfn := range []PFN{90, 3, 40, 42, 41, 200} {
		copy(m.Bytes(pfn), "dirty")
		m.Unref(pfn)
	}
	if _, err := m.AllocContig(4); !errors.Is(err, ErrNoMemory) {
		t.Errorf("four: %v", err)
	}
	if _, err := m.AllocContig(total + 1); !errors.Is(err, ErrNoMemory) {
		t.Errorf("more than there are: %v", err)
	}
	first, err := m.AllocContig(3)
	if first != 40 || err != nil {
		t.Fatalf("frame %d, %v", first, err)
	}
	if !isZero(m.Range(first, 3)) {
		t.Error("not zero")
	}
	// The frames left on the free list are found, those taken out of its
	// middle are not given twice.
	got := map[PFN]bool{}
	for range 3 {
		got[mustAlloc(t, m)] = true
	}
	if !got[90] || !got[3] || !got[200] {
		t.Errorf("frames %v", got)
	}
	if _, err := m.Alloc(); !errors.Is(err, ErrNoMemory) {
		t.Errorf("error %v", err)
	}
}

// A run may begin among used frames and end among those never used.
func TestContigReachesIntoFreshFrames(t *testing.T) {
	m := newMemory(t, MinSize)
	total := m.Stats().Total
	for range total - 2 {
		mustAlloc(t, m)
	}
	last := PFN(total - 3)
	copy(m.Bytes(last), "dirty")
	m.Unref(last)
	first, err := m.AllocContig(3)
	if first != last || err != nil {
		t.Fatalf("frame %d, %v", first, err)
	}
	if !isZero(m.Range(first, 3)) {
		t.Error("not zero")
	}
	if _, err := m.Alloc(); !errors.Is(err, ErrNoMemory) {
		t.Errorf("error %v", err)
	}
}

func TestPoison(t *testing.T) {
	m := newMemory(t, MinSize)
	m.SetPoison(true)
	pfn := mustAlloc(t, m)
	m.Ref(pfn)
	m.Unref(pfn)
	if !isZero(m.Bytes(pfn)) {
		t.Error("poisoned with a reference left")
	}
	m.Unref(pfn)
	if b := m.Bytes(pfn); len(bytes.Trim(b, string([]byte{poisonByte}))) != 0 {
		t.Errorf("% x", b[:16])
	}
	if again := mustAlloc(t, m); again != pfn || !isZero(m.Bytes(again)) {
		t.Errorf("frame %d is not zero", again)
	}
}

func TestReferenceMistakesAreBugs(t *testing.T) {
	m := newMemory(t, MinSize)
	pfn := mustAlloc(t, m)
	m.Unref(pfn)
	mustBug(t, "freed twice", func() { m.Unref(pfn) })
	mustBug(t, "reference to a free frame", func() { m.Ref(pfn) })
	mustBug(t, "no frames", func() { m.AllocContig(0) })
	mustBug(t, "far too many frames", func() { m.AllocContig(1 << 40) })
	// The lock is free after a panic, for whoever reports it.
	if got := m.Stats().InUse; got != 0 {
		t.Errorf("%d in use", got)
	}
}

// Pages that are touched in order get adjacent frames, up or down, and in memory
// that others have used and freed in any order.
func TestNeighboursGetAdjacentFrames(t *testing.T) {
	for name, free := range map[string]func([]PFN){
		"fresh":                    func([]PFN) {},
		"used":                     func([]PFN) {},
		"used, freed from the top": slices.Reverse[[]PFN],
		"used, freed at random": func(s []PFN) {
			rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 32
			m := newMemory(t, MinSize)
			mustAlloc(t, m) // somebody else's
			if name != "fresh" {
				var used []PFN
				for range n {
					used = append(used, mustAlloc(t, m))
				}
				free(used)
				for _, pfn := range used {
					m.Unref(pfn)
				}
			}
			near := func(below, above PFN) PFN {
				pfn, err := m.AllocNear(below, above)
				if err != nil {
					t.Fatal(err)
				}
				if !isZero(m.Bytes(pfn)) {
					t.Fatalf("frame %d is not zero", pfn)
				}
				m.Bytes(pfn)[0] = 1
				return pfn
			}
			first := near(None, None)
			last := first
			for range n - 1 {
				pfn := near(last, None)
				if pfn != last+1 {
					t.Fatalf("frame %d behind frame %d", pfn, last)
				}
				last = pfn
			}
			for pfn := first; pfn <= last; pfn++ {
				m.Unref(pfn)
			}
			last = near(last-1, None) // the run's last
			for range n - 1 {
				pfn := near(None, last)
				if pfn != last-1 {
					t.Fatalf("frame %d before frame %d", pfn, last)
				}
				last = pfn
			}
		})
	}
}

// Random operations against a map of reference counts. Frames are zero when
// they are given, and whatever is written into one stays until it is freed.
func TestMemoryAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		m := newMemory(t, MinSize)
		total := m.Stats().Total
		refs := map[PFN]int{}
		var held []PFN
		peak := 0
		take := func(pfn PFN) {
			if refs[pfn] != 0 {
				t.Fatalf("frame %d is in use", pfn)
			}
			if !isZero(m.Bytes(pfn)) {
				t.Fatalf("frame %d is not zero", pfn)
			}
			m.Bytes(pfn)[0], m.Bytes(pfn)[PageSize-1] = byte(pfn)|1, byte(pfn)|1
			refs[pfn] = 1
			held = append(held, pfn)
			peak = max(peak, len(held))
		}
		longest := func() (best int) {
			run := 0
			for pfn := range PFN(total) {
				if run++; refs[pfn] != 0 {
					run = 0
				}
				best = max(best, run)
			}
			return best
		}
		fill := 0 // tides, so that memory is now full and now empty
		for i := range 20000 {
			if i%1500 == 0 {
				fill = rnd.IntN(3)
			}
			switch op := rnd.IntN(10); {
			case op < 3+fill:
				alloc := m.Alloc
				if rnd.IntN(2) == 0 {
					alloc = func() (PFN, error) {
						near := []PFN{None, 0, PFN(total), PFN(rnd.IntN(total)), PFN(rnd.IntN(total))}
						return m.AllocNear(near[rnd.IntN(5)], near[rnd.IntN(5)])
					}
				}
				pfn, err := alloc()
				if err == nil {
					take(pfn)
				} else if !errors.Is(err, ErrNoMemory) || len(held) != total {
					t.Fatalf("%d of %d held: %v", len(held), total, err)
				}
			case op == 6:
				n := 1 + rnd.IntN(12)
				first, err := m.AllocContig(n)
				if err == nil {
					for j := range n {
						take(first + PFN(j))
					}
				} else if !errors.Is(err, ErrNoMemory) || longest() >= n {
					t.Fatalf("%d adjacent frames refused, %d are free: %v", n, longest(), err)
				}
			case len(held) == 0:
			case op == 7:
				pfn := held[rnd.IntN(len(held))]
				m.Ref(pfn)
				refs[pfn]++
			default:
				j := rnd.IntN(len(held))
				pfn := held[j]
				if b := m.Bytes(pfn); b[0] != byte(pfn)|1 || b[PageSize-1] != byte(pfn)|1 {
					t.Fatalf("frame %d has changed", pfn)
				}
				m.Unref(pfn)
				if refs[pfn]--; refs[pfn] == 0 {
					held[j] = held[len(held)-1]
					held = held[:len(held)-1]
				}
			}
			if got := m.Stats(); got != (Stats{total, total - len(held), len(held), peak}) {
				t.Fatalf("%+v with %d held and a peak of %d", got, len(held), peak)
			}
			if len(m.free) > 2*total {
				t.Fatalf("free list of %d for %d frames", len(m.free), total)
			}
		}
		for _, pfn := range held {
			if m.Refs(pfn) != refs[pfn] {
				t.Fatalf("frame %d: %d references, want %d", pfn, m.Refs(pfn), refs[pfn])
			}
		}
	}
}

// The free list keeps within bounds however often runs are taken from its
// middle.
func TestFreeListIsBounded(t *testing.T) {
	m := newMemory(t, MinSize)
	total := m.Stats().Total
	for range 20 * total {
		first, err := m.AllocContig(3)
		if err != nil {
			t.Fatal(err)
		}
		for i := range PFN(3) {
			m.Unref(first + i)
		}
	}
	if len(m.free) > 2*total {
		t.Errorf("%d entries for %d frames", len(m.free), total)
	}
	seen := map[PFN]bool{}
	for range total {
		pfn := mustAlloc(t, m)
		if seen[pfn] {
			t.Fatalf("frame %d given twice", pfn)
		}
		seen[pfn] = true
	}
}

func TestMemoryInParallel(t *testing.T) {
	m := newMemory(t, MinSize)
	shared := mustAlloc(t, m)
	var wg sync.WaitGroup
	for id := range byte(4) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(id), 3))
			var mine []PFN
			for range 3000 {
				switch rnd.IntN(4) {
				case 0, 1:
					if pfn, err := m.Alloc(); err == nil {
						if !isZero(m.Bytes(pfn)) {
							t.Errorf("frame %d is not zero", pfn)
						}
						m.Bytes(pfn)[5] = id + 1
						mine = append(mine, pfn)
					}
				case 2:
					m.Ref(shared)
					m.Unref(shared)
				case 3:
					if n := len(mine); n > 0 {
						if got := m.Bytes(mine[n-1])[5]; got != id+1 {
							t.Errorf("somebody wrote %d into %d's frame", got, id+1)
						}
						m.Unref(mine[n-1])
						mine = mine[:n-1]
					}
				}
			}
			for _, pfn := range mine {
				m.Unref(pfn)
			}
		})
	}
	wg.Wait()
	if got := m.Stats().InUse; got != 1 {
		t.Errorf("%d frames in use", got)
	}
}

// Close leaves neither the descriptor nor the mapping behind.
func TestCloseGivesBack(t *testing.T) {
	count := func() (n int) {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "memfd:physmem")
	}
	before := count()
	m, err := New(MinSize)
	if err != nil {
		t.Fatal(err)
	}
	fd := m.fd
	if got := count(); got != before+1 {
		t.Errorf("%d mappings, want %d", got, before+1)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != before {
		t.Errorf("%d mappings left", got-before)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != unix.EBADF {
		t.Errorf("descriptor: %v", err)
	}
}
