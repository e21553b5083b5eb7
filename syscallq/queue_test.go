package syscallq

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/physmem"
	"goskas/stubexe/stubabi"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// files is a Backing with several descriptors: frames from n*1000 on are in
// descriptor 100+n.
type files struct{}

func (files) PhysMapping(pfn physmem.PFN) (int, int64) {
	return 100 + int(pfn/1000), int64(pfn%1000) * arch.PageSize
}

// mapping is what a page of the stub shows.
type mapping struct {
	fd     int
	offset uint64
	prot   int32
}

// stub is a plain model of the stub: it runs the batch that is published and
// reports as stub.go does.
type stub struct {
	q     *Queue
	pages map[uint64]mapping
	// deny fails calls that touch this page.
	deny    uint64
	batches [][]stubabi.Entry
	err     error // the run fails without any batch, as with a dead stub
}

// Limits of the model.
const (
	maxEntries = stubabi.MaxEntries
	maxLength  = 64 * arch.PageSize
)

func newStub() *stub {
	s := &stub{pages: map[uint64]mapping{}, deny: ^uint64(0)}
	s.q = New(Limits{Entries: maxEntries, Length: maxLength}, files{}, s.run)
	return s
}

func (s *stub) run() error {
	if s.err != nil {
		return s.err
	}
	at, errno := s.exec()
	return s.q.Done(at, errno)
}

// exec does what the stub does between wake and report.
func (s *stub) exec() (at int32, errno int64) {
	fds := append([]int(nil), s.q.FDs()...)
	s.batches = append(s.batches, append([]stubabi.Entry(nil), s.q.Entries()...))
	for i, e := range s.q.Entries() {
		if err := s.call(e, fds); err != 0 {
			return int32(i), -int64(err)
		}
	}
	return 0, 0
}

func (s *stub) call(e stubabi.Entry, fds []int) unix.Errno {
	if e.Length == 0 || e.Addr%arch.PageSize != 0 || e.Length%arch.PageSize != 0 || e.Offset%arch.PageSize != 0 {
		return unix.EINVAL
	}
	if s.deny >= e.Addr && s.deny < e.Addr+e.Length {
		return unix.ENOMEM
	}
	for off := uint64(0); off < e.Length; off += arch.PageSize {
		switch e.Kind {
		case stubabi.Mmap:
			if e.Slot < 0 || int(e.Slot) >= len(fds) {
				return unix.EBADF
			}
			s.pages[e.Addr+off] = mapping{fds[e.Slot], e.Offset + off, e.Prot}
		case stubabi.Munmap:
			delete(s.pages, e.Addr+off)
		default:
			return unix.ENOSYS
		}
	}
	return 0
}

const pg = arch.PageSize

// call is one request to the queue; pfn < 0 is an Unmap.
type call struct {
	page  arch.Addr
	pages uint64
	acc   arch.Access
	pfn   int
}

func (c call) to(q *Queue) error {
	if c.pfn < 0 {
		return q.Unmap(c.page*pg, c.pages*pg)
	}
	return q.Map(c.page*pg, c.pages*pg, c.acc, physmem.PFN(c.pfn))
}

func TestMerging(t *testing.T) {
	const rw = arch.Read | arch.Write
	mm := func(addr, pages, offset uint64, slot, prot int32) stubabi.Entry {
		return stubabi.Entry{Kind: stubabi.Mmap, Addr: addr * pg, Length: pages * pg, Offset: offset * pg, Slot: slot, Prot: prot}
	}
	un := func(addr, pages uint64) stubabi.Entry {
		return stubabi.Entry{Kind: stubabi.Munmap, Addr: addr * pg, Length: pages * pg}
	}
	for _, c := range []struct {
		name   string
		calls  []call
		want   []stubabi.Entry
		fds    []int
		merged uint64
	}{
		{"neighbours", []call{{1, 1, rw, 5}, {2, 1, rw, 6}, {3, 2, rw, 7}}, []stubabi.Entry{mm(1, 4, 5, 0, 3)}, []int{100}, 2},
		{"other rights", []call{{1, 1, rw, 5}, {2, 1, arch.Read, 6}}, []stubabi.Entry{mm(1, 1, 5, 0, 3), mm(2, 1, 6, 0, 1)}, []int{100}, 0},
		{"gap in memory", []call{{1, 1, rw, 5}, {3, 1, rw, 6}}, []stubabi.Entry{mm(1, 1, 5, 0, 3), mm(3, 1, 6, 0, 3)}, []int{100}, 0},
		{"gap in the file", []call{{1, 1, rw, 5}, {2, 1, rw, 7}}, []stubabi.Entry{mm(1, 1, 5, 0, 3), mm(2, 1, 7, 0, 3)}, []int{100}, 0},
		{"descending", []call{{2, 1, rw, 6}, {1, 1, rw, 5}}, []stubabi.Entry{mm(2, 1, 6, 0, 3), mm(1, 1, 5, 0, 3)}, []int{100}, 0},
		{"same again", []call{{1, 1, rw, 5}, {1, 1, rw, 5}}, []stubabi.Entry{mm(1, 1, 5, 0, 3), mm(1, 1, 5, 0, 3)}, []int{100}, 0},
		{"other file at the right offset", []call{{1, 1, rw, 5}, {2, 1, rw, 1006}}, []stubabi.Entry{mm(1, 1, 5, 0, 3), mm(2, 1, 6, 1, 3)}, []int{100, 101}, 0},
		{"back to the first file", []call{{1, 1, rw, 5}, {9, 1, rw, 1006}, {2, 1, rw, 6}},
			[]stubabi.Entry{mm(1, 1, 5, 0, 3), mm(9, 1, 6, 1, 3), mm(2, 1, 6, 0, 3)}, []int{100, 101}, 0},
		{"unmap neighbours", []call{{1, 1, 0, -1}, {2, 3, 0, -1}}, []stubabi.Entry{un(1, 4)}, []int{}, 1},
		{"unmap gap", []call{{1, 1, 0, -1}, {3, 1, 0, -1}}, []stubabi.Entry{un(1, 1), un(3, 1)}, []int{}, 0},
		{"unmap between", []call{{1, 1, rw, 5}, {2, 1, 0, -1}, {2, 1, rw, 6}},
			[]stubabi.Entry{mm(1, 1, 5, 0, 3), un(2, 1), mm(2, 1, 6, 0, 3)}, []int{100}, 0},
		{"unmap then map next to it", []call{{1, 1, 0, -1}, {2, 1, rw, 0}}, []stubabi.Entry{un(1, 1), mm(2, 1, 0, 0, 3)}, []int{100}, 0},
	} {
		s := newStub()
		for _, call := range c.calls {
			if err := call.to(s.q); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if diff := cmp.Diff(c.want, append([]stubabi.Entry{}, s.q.Entries()...), cmp.AllowUnexported(stubabi.Entry{})); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if diff := cmp.Diff(c.fds, append([]int{}, s.q.FDs()...)); diff != "" {
			t.Errorf("%s: descriptors %s", c.name, diff)
		}
		if got := s.q.Stats().Merged; got != c.merged {
			t.Errorf("%s: %d merged, want %d", c.name, got, c.merged)
		}
	}
}

// Neighbours are merged up to the longest entry that the stub may run.
func TestMergesEndAtTheLongestEntry(t *testing.T) {
	for _, pfn := range []int{0, -1} {
		s := newStub()
		for i := range arch.Addr(2*maxLength/pg + 3) {
			c := call{1 + i, 1, arch.Read, pfn}
			if pfn >= 0 {
				c.pfn += int(i)
			}
			if err := c.to(s.q); err != nil {
				t.Fatal(err)
			}
		}
		var got []uint64
		for _, e := range s.q.Entries() {
			got = append(got, e.Length)
		}
		if diff := cmp.Diff([]uint64{maxLength, maxLength, 3 * pg}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFlushWhenEntriesRunOut(t *testing.T) {
	s := newStub()
	const n = 2*maxEntries + 5
	for i := range arch.Addr(n) {
		if err := s.q.Map(2*i*pg, pg, arch.Read, physmem.PFN(i%2000)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.batches) != 2 || len(s.batches[0]) != maxEntries || len(s.q.Entries()) != 5 {
		t.Fatalf("%d batches, %d entries left", len(s.batches), len(s.q.Entries()))
	}
	if err := s.q.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(s.q.Entries()) != 0 || len(s.q.FDs()) != 0 {
		t.Errorf("%d entries, descriptors %v", len(s.q.Entries()), s.q.FDs())
	}
	for i := range uint64(n) {
		pfn := i % 2000
		if got, want := s.pages[2*i*pg], (mapping{100 + int(pfn/1000), pfn % 1000 * pg, 1}); got != want {
			t.Fatalf("page %d: %+v, want %+v", i, got, want)
		}
	}
	want := Stats{Batches: 3, Flushes: 3, Entries: n, MaxLen: maxEntries}
	if diff := cmp.Diff(want, s.q.Stats()); diff != "" {
		t.Error(diff)
	}
	if err := s.q.Flush(); err != nil || len(s.batches) != 3 {
		t.Errorf("flush of an empty queue: %v, %d batches", err, len(s.batches))
	}
}

// The entry that did not fit any more finds its descriptor in the new batch.
func TestFlushWhenEntriesRunOutKeepsTheDescriptor(t *testing.T) {
	s := newStub()
	for i := range arch.Addr(maxEntries) {
		if err := s.q.Map(2*i*pg, pg, arch.Read, physmem.PFN(i%2)*1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.q.Map(5001*pg, pg, arch.Read, 1042); err != nil { // slot 1 before, 0 now
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{101}, s.q.FDs()); diff != "" {
		t.Error(diff)
	}
	if err := s.q.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := s.pages[5001*pg]; got != (mapping{101, 42 * pg, 1}) {
		t.Errorf("%+v", got)
	}
}

func TestFlushWhenSlotsRunOut(t *testing.T) {
	s := newStub()
	for i := range arch.Addr(stubabi.MaxFDs) {
		if err := s.q.Map(i*pg, pg, arch.Read, physmem.PFN(i)*1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.q.Map(50*pg, pg, arch.Read, 2000); err != nil || len(s.batches) != 0 {
		t.Fatalf("a known descriptor: %v, %d batches", err, len(s.batches))
	}
	if err := s.q.Map(60*pg, pg, arch.Read, 9000); err != nil {
		t.Fatal(err)
	}
	if len(s.batches) != 1 || len(s.q.Entries()) != 1 {
		t.Fatalf("%d batches, %d entries", len(s.batches), len(s.q.Entries()))
	}
	if diff := cmp.Diff([]int{109}, s.q.FDs()); diff != "" {
		t.Error(diff)
	}
}

// The first failure is what Flush returns, once; until then nothing is queued.
func TestErrorSticks(t *testing.T) {
	s := newStub()
	s.deny = 3 * pg
	for _, a := range []arch.Addr{1, 3, 5} {
		if err := s.q.Map(a*pg, pg, arch.Read, physmem.PFN(a)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range arch.Addr(maxEntries) {
		err := s.q.Unmap((100+2*i)*pg, pg)
		if i < maxEntries-3 {
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !errors.Is(err, unix.ENOMEM) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if err := s.q.Map(7*pg, pg, arch.Read, 7); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("map after the failure: %v", err)
	}
	if len(s.q.Entries()) != 0 || len(s.batches) != 1 {
		t.Errorf("%d entries queued after the failure, %d batches", len(s.q.Entries()), len(s.batches))
	}
	err := s.q.Flush()
	var e *Error
	if !errors.As(err, &e) || e.Index != 1 || e.Entry.Addr != 3*pg || e.Errno != unix.ENOMEM {
		t.Errorf("flush: %v", err)
	}
	if s, want := err.Error(), "batch entry 1: mmap of 0x1000 bytes at 0x3000: cannot allocate memory"; s != want {
		t.Errorf("%q, want %q", s, want)
	}
	if err := s.q.Flush(); err != nil {
		t.Errorf("the error comes twice: %v", err)
	}
	if _, there := s.pages[5*pg]; there {
		t.Error("an entry behind the failed one ran")
	}
	s.deny = ^uint64(0)
	if err := s.q.Map(5*pg, pg, arch.Read, 5); err != nil {
		t.Error(err)
	}
	if err := s.q.Flush(); err != nil {
		t.Error(err)
	}
	if _, there := s.pages[5*pg]; !there {
		t.Error("the queue does not work after an error")
	}
}

func TestRunErrorIsPassedOn(t *testing.T) {
	s := newStub()
	s.err = errors.New("stub is dead")
	if err := s.q.Unmap(pg, pg); err != nil {
		t.Fatal(err)
	}
	if err := s.q.Flush(); !errors.Is(err, s.err) {
		t.Errorf("%v", err)
	}
	s = newStub()
	s.err = errors.New("stub is dead")
	var err error
	for i := range physmem.PFN(stubabi.MaxFDs + 1) {
		err = s.q.Map(arch.Addr(i)*pg, pg, arch.Read, i*1000)
	}
	if !errors.Is(err, s.err) {
		t.Errorf("slots: %v", err)
	}
}

// A stub may report anything: the outcome is an error with what is known, or
// none, never a panic, and the queue is empty.
func TestDoneWithHostileReports(t *testing.T) {
	for _, at := range []int32{-1 << 31, -1, 0, 1, 2, maxEntries, 1<<31 - 1} {
		for _, errno := range []int64{-1 << 63, -1 << 40, -4096, -4095, -12, -1, 0, 1, 12, 1<<63 - 1} {
			s := newStub()
			for i := range arch.Addr(2) {
				if err := s.q.Unmap(2*i*pg, pg); err != nil {
					t.Fatal(err)
				}
			}
			err := s.q.Done(at, errno)
			if len(s.q.Entries()) != 0 || len(s.q.FDs()) != 0 {
				t.Errorf("(%d, %d): queue is not empty", at, errno)
			}
			if errno == 0 {
				if err != nil {
					t.Errorf("(%d, 0): %v", at, err)
				}
				continue
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("(%d, %d): %v", at, errno, err)
			}
			want := Error{Index: int(at), Errno: unix.EPROTO}
			if errno < 0 && errno > -4096 {
				want.Errno = unix.Errno(-errno)
			}
			if at == 0 || at == 1 {
				want.Entry = stubabi.Entry{Kind: stubabi.Munmap, Addr: uint64(at) * 2 * pg, Length: pg}
			}
			if *e != want || !strings.HasPrefix(e.Error(), "batch entry ") {
				t.Errorf("(%d, %d): %+v, want %+v", at, errno, *e, want)
			}
		}
	}
}

func TestStatsAdd(t *testing.T) {
	a := Stats{1, 2, 3, 4, 5}
	a.Add(Stats{10, 20, 30, 40, 3})
	a.Add(Stats{MaxLen: 9})
	if diff := cmp.Diff(Stats{11, 22, 33, 44, 9}, a); diff != "" {
		t.Error(diff)
	}
}

// batchCheck makes calls on a queue and one by one, and compares.
func batchCheck(t *testing.T, next func() (c call, resume, ok bool)) {
	s := newStub()
	alone := map[uint64]mapping{}
	calls := uint64(0)
	for {
		c, resume, ok := next()
		if !ok {
			break
		}
		if resume { // the batch runs with a resume instead of a flush
			if err := s.q.Done(s.exec()); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.to(s.q); err != nil {
			t.Fatal(err)
		}
		calls++
		for i := range c.pages {
			a := uint64(c.page)*pg + i*pg
			if c.pfn < 0 {
				delete(alone, a)
				continue
			}
			fd, off := files{}.PhysMapping(physmem.PFN(c.pfn))
			alone[a] = mapping{fd, uint64(off) + i*pg, int32(c.acc)}
		}
		for _, e := range s.q.Entries() {
			if e.Length > maxLength {
				t.Fatalf("an entry of %#x bytes", e.Length)
			}
		}
		if len(s.q.Entries()) > maxEntries || len(s.q.FDs()) > stubabi.MaxFDs {
			t.Fatalf("%d entries, %d descriptors", len(s.q.Entries()), len(s.q.FDs()))
		}
	}
	if err := s.q.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alone, s.pages, cmp.AllowUnexported(mapping{})); diff != "" {
		t.Fatal(diff)
	}
	if st := s.q.Stats(); st.Entries+st.Merged != calls {
		t.Fatalf("%d calls: %+v", calls, st)
	}
}

// The effect of batches is that of their calls, one after the other.
func TestBatchEqualsCalls(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		left := 1500
		last := call{page: 1, pages: 1}
		batchCheck(t, func() (call, bool, bool) {
			left--
			c := call{arch.Addr(rnd.IntN(400)), uint64(1 + rnd.IntN(3)), arch.Access(rnd.IntN(8)), rnd.IntN(7)*1000 + rnd.IntN(900)}
			switch rnd.IntN(6) {
			case 0:
				c.pfn = -1
			case 1, 2, 3: // go on where the last one ended
				c = call{last.page + arch.Addr(last.pages), c.pages, last.acc, last.pfn}
				if c.pfn >= 0 {
					c.pfn += int(last.pages)
				}
				if c.pfn%1000 > 900 {
					c.pfn -= 900
				}
			}
			last = c
			return c, rnd.IntN(200) == 0, left >= 0
		})
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte{1, 1, 3, 5, 2, 1, 3, 6, 3, 1, 0, 255})
	rnd := rand.New(rand.NewPCG(5, 6))
	long := make([]byte, 2000)
	for i := range long {
		long[i] = byte(rnd.Uint32())
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, b []byte) {
		batchCheck(t, func() (c call, resume, ok bool) {
			if len(b) < 4 {
				return c, false, false
			}
			c = call{arch.Addr(b[0]), uint64(b[1]%4) + 1, arch.Access(b[2] & 7), int(b[3]%8)*1000 + int(b[3]/8)}
			if b[3] == 255 {
				c.pfn = -1
			}
			resume = b[1]&0x80 != 0
			b = b[4:]
			return c, resume, true
		})
	})
}
