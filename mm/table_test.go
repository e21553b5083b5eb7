package mm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"goskas/arch"
	"goskas/physmem"

	"github.com/google/go-cmp/cmp"
)

func newTable(t *testing.T) (*Table, *physmem.Memory) {
	t.Helper()
	mem, err := physmem.New(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return New(mem, testEnd), mem
}

func mapPages(t *testing.T, table *Table, mem *physmem.Memory, at arch.Addr, acc ...arch.Access) {
	t.Helper()
	for i, a := range acc {
		pfn, err := mem.Alloc()
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Map(at+arch.Addr(i)*arch.PageSize, pfn, a); err != nil {
			t.Fatal(err)
		}
	}
}

const rw = arch.Read | arch.Write

func wantFault(t *testing.T, what string, err error, a arch.Addr, acc arch.Access) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || *f != (Fault{a, acc}) {
		t.Errorf("%s: error %v, want a fault at %#x (%v)", what, err, uint64(a), acc)
	}
}

// Copies stop at the first byte that may not be reached, and say how far they
// came.
func TestCopyFaults(t *testing.T) {
	table, mem := newTable(t)
	const base = arch.Addr(leafSpan - 2*arch.PageSize)
	// Two writable pages, one read-only in the next leaf, then a hole.
	mapPages(t, table, mem, base, rw, rw, arch.Read)
	ro, hole := base+2*arch.PageSize, base+3*arch.PageSize
	for _, c := range []struct {
		name    string
		at      arch.Addr
		size    int
		in, out int       // bytes that CopyIn and CopyOut manage
		inAt    arch.Addr // where they fault if that is not all
		outAt   arch.Addr
	}{
		{"nothing", hole, 0, 0, 0, 0, 0},
		{"inside", base + 8, 100, 100, 100, 0, 0},
		{"up to the border", base + 1, arch.PageSize - 1, arch.PageSize - 1, arch.PageSize - 1, 0, 0},
		{"across", base + arch.PageSize - 3, 7, 7, 7, 0, 0},
		{"into read-only", ro - 5, 10, 10, 5, 0, ro},
		{"into the hole", hole - 5, 10, 5, 0, hole, hole - 5},
		{"all of it", base, 3*arch.PageSize + 1, 3 * arch.PageSize, 2 * arch.PageSize, hole, ro},
		{"in the hole", hole + 9, 1, 0, 0, hole + 9, hole + 9},
		{"end of space", testEnd - 1, 2, 0, 0, testEnd - 1, testEnd - 1},
		{"behind the end", testEnd, 1, 0, 0, testEnd, testEnd},
		{"top of memory", ^arch.Addr(0), 4, 0, 0, ^arch.Addr(0), ^arch.Addr(0)},
	} {
		buf := make([]byte, c.size)
		n, err := table.CopyIn(buf, c.at)
		if n != c.in {
			t.Errorf("%s: read %d, want %d", c.name, n, c.in)
		}
		if n == c.size && err != nil {
			t.Errorf("%s: read: %v", c.name, err)
		} else if n < c.size {
			wantFault(t, c.name+" (read)", err, c.inAt, arch.Read)
		}
		n, err = table.CopyOut(c.at, buf)
		if n != c.out {
			t.Errorf("%s: wrote %d, want %d", c.name, n, c.out)
		}
		if n == c.size && err != nil {
			t.Errorf("%s: write: %v", c.name, err)
		} else if n < c.size {
			wantFault(t, c.name+" (write)", err, c.outAt, arch.Write)
		}
	}
}

// What is written across pages is read back, whatever the alignment.
func TestCopyRoundTrip(t *testing.T) {
	table, mem := newTable(t)
	const pages = 8
	acc := make([]arch.Access, pages)
	for i := range acc {
		acc[i] = rw
	}
	const base = arch.Addr(leafSpan*7 - 3*arch.PageSize)
	mapPages(t, table, mem, base, acc...)
	want := make([]byte, pages*arch.PageSize)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		at := rnd.IntN(len(want))
		p := make([]byte, rnd.IntN(min(len(want)-at, 3*arch.PageSize)+1))
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		copy(want[at:], p)
		if n, err := table.CopyOut(base+arch.Addr(at), p); n != len(p) || err != nil {
			t.Fatalf("wrote %d: %v", n, err)
		}
		at = rnd.IntN(len(want))
		got := make([]byte, rnd.IntN(len(want)-at+1))
		if n, err := table.CopyIn(got, base+arch.Addr(at)); n != len(got) || err != nil {
			t.Fatalf("read %d: %v", n, err)
		}
		if !bytes.Equal(got, want[at:at+len(got)]) {
			t.Fatalf("%d bytes at %#x differ", len(got), at)
		}
	}
}

func TestReadString(t *testing.T) {
	table, mem := newTable(t)
	const base = arch.Addr(0x40000)
	mapPages(t, table, mem, base, rw, rw)
	end := base + 2*arch.PageSize
	put := func(a arch.Addr, s string) {
		t.Helper()
		if _, err := table.CopyOut(a, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", arch.PageSize)
	for _, c := range []struct {
		name  string
		at    arch.Addr
		text  string
		limit int
		want  string
		err   error
	}{
		{"plain", base, "hello\x00", 10, "hello", nil},
		{"empty", base, "\x00", 0, "", nil},
		{"as long as the limit", base, "hello\x00", 5, "hello", nil},
		{"one more", base, "hello\x00", 4, "", ErrTooLong},
		{"across pages", base + arch.PageSize - 3, "abcdef\x00", 6, "abcdef", nil},
		{"across pages, too long", base + arch.PageSize - 3, "abcdef\x00", 5, "", ErrTooLong},
		{"zero is the first of the next page", base + arch.PageSize - 3, "abc\x00", 3, "abc", nil},
		{"a whole page", base, long + "\x00", arch.PageSize, long, nil},
		{"a whole page, too long", base, long + "\x00", arch.PageSize - 1, "", ErrTooLong},
		{"ends with the memory", end - 4, "abc\x00", 100, "abc", nil},
		{"no end before the hole, but the limit", end - 4, "abcd", 3, "", ErrTooLong},
		{"limit zero", base, "a\x00", 0, "", ErrTooLong},
	} {
		put(c.at, c.text)
		got, err := table.ReadString(c.at, c.limit)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
	put(end-4, "abcd")
	_, err := table.ReadString(end-4, 100)
	wantFault(t, "runs into the hole", err, end, arch.Read)
	_, err = table.ReadString(testEnd+5, 100)
	wantFault(t, "behind the end", err, testEnd+5, arch.Read)
}

func TestWords(t *testing.T) {
	table, mem := newTable(t)
	const base = arch.Addr(0x40000)
	mapPages(t, table, mem, base, rw, rw)
	at := base + arch.PageSize - 3 // words need not be aligned
	if err := table.StoreUint64(at, 0x1122334455667788); err != nil {
		t.Fatal(err)
	}
	if v, err := table.LoadUint64(at); v != 0x1122334455667788 || err != nil {
		t.Errorf("%#x, %v", v, err)
	}
	if v, err := table.LoadUint32(at + 4); v != 0x11223344 || err != nil {
		t.Errorf("%#x, %v", v, err)
	}
	if err := table.StoreUint32(at, 0xaabbccdd); err != nil {
		t.Fatal(err)
	}
	if v, _ := table.LoadUint64(at); v != 0x11223344aabbccdd {
		t.Errorf("%#x", v)
	}
	_, err := table.LoadUint64(base + 2*arch.PageSize - 4)
	wantFault(t, "load", err, base+2*arch.PageSize, arch.Read)
	wantFault(t, "store", table.StoreUint32(base+2*arch.PageSize, 1), base+2*arch.PageSize, arch.Write)
}

// pager maps zeroed pages below limit, and counts.
type pager struct {
	t     *Table
	mem   *physmem.Memory
	limit arch.Addr
	calls []Fault
	idle  bool // says that it is done and does nothing
}

func (p *pager) PageIn(a arch.Addr, acc arch.Access) error {
	p.calls = append(p.calls, Fault{a, acc})
	if p.idle {
		return nil
	}
	if a >= p.limit {
		return &Fault{Addr: a, Access: acc}
	}
	if e := p.t.Lookup(a); e.Present() && e.COW() && acc&arch.Write != 0 {
		return p.t.BreakCOW(a)
	}
	pfn, err := p.mem.Alloc()
	if err != nil {
		return err
	}
	return p.t.Map(a.PageDown(), pfn, rw)
}

func TestPagerBringsInWhatIsMissing(t *testing.T) {
	table, mem := newTable(t)
	const base = arch.Addr(0x40000)
	p := &pager{t: table, mem: mem, limit: base + 2*arch.PageSize}
	table.SetPager(p)
	n, err := table.CopyOut(base+10, make([]byte, 3*arch.PageSize))
	if n != 2*arch.PageSize-10 {
		t.Errorf("%d bytes", n)
	}
	wantFault(t, "limit", err, base+2*arch.PageSize, arch.Write)
	want := []Fault{{base + 10, arch.Write}, {base + arch.PageSize, arch.Write}, {base + 2*arch.PageSize, arch.Write}}
	if diff := cmp.Diff(want, p.calls); diff != "" {
		t.Error(diff)
	}

	// A shared frame is copied before the monitor writes to it.
	child := New(mem, testEnd)
	if err := table.CopyOnWrite(child, 0, testEnd); err != nil {
		t.Fatal(err)
	}
	if err := table.StoreUint32(base, 7); err != nil {
		t.Fatal(err)
	}
	if v, err := child.LoadUint32(base); v != 0 || err != nil {
		t.Errorf("the child sees %d, %v", v, err)
	}

	// A pager that lies does not hang the copy.
	p.idle = true
	_, err = table.CopyIn(make([]byte, 1), base+8*arch.PageSize)
	wantFault(t, "idle pager", err, base+8*arch.PageSize, arch.Read)
	// Above the end nobody is asked.
	p.calls = nil
	_, err = table.CopyIn(make([]byte, 1), testEnd)
	wantFault(t, "end", err, testEnd, arch.Read)
	if len(p.calls) != 0 {
		t.Errorf("pager called with %v", p.calls)
	}
}

func TestPagerErrorIsPassedOn(t *testing.T) {
	table, mem := newTable(t)
	p := &pager{t: table, mem: mem, limit: testEnd}
	table.SetPager(p)
	for {
		if _, err := mem.Alloc(); err != nil {
			break
		}
	}
	if _, err := table.CopyOut(0x1000, []byte{1}); !errors.Is(err, physmem.ErrNoMemory) {
		t.Errorf("error %v", err)
	}
	pfn := physmem.PFN(1)
	mem.Ref(pfn)
	if err := table.MapShared(0x1000, pfn, rw); err != nil {
		t.Fatal(err)
	}
	if err := table.BreakCOW(0x1000); !errors.Is(err, physmem.ErrNoMemory) {
		t.Errorf("copying with no memory: %v", err)
	}
	if e := table.Lookup(0x1000); !e.COW() || e.PFN() != pfn {
		t.Errorf("entry %v has changed", e)
	}
}

func TestMapOutsideOfSpaceFaults(t *testing.T) {
	table, mem := newTable(t)
	for _, a := range []arch.Addr{testEnd, testEnd + arch.PageSize, ^arch.Addr(0) - 4095, 1, 0x1001} {
		wantFault(t, "map", table.Map(a, 0, rw), a, rw)
	}
	wantFault(t, "break", table.BreakCOW(testEnd+5), testEnd, arch.Write)
	table.Touch(testEnd, arch.Write) // nothing happens
	if e := table.Lookup(testEnd); e != 0 {
		t.Errorf("entry %v", e)
	}
	if mem.Stats().InUse != 0 {
		t.Errorf("%+v", mem.Stats())
	}
}

func TestRangeMistakesAreBugs(t *testing.T) {
	table, _ := newTable(t)
	for name, f := range map[string]func(){
		"reversed":   func() { table.Unmap(0x2000, 0x1000) },
		"behind":     func() { table.Unmap(0, testEnd+arch.PageSize) },
		"misaligned": func() { table.Protect(1, 0x1000, rw) },
		"overlap":    func() { table.Move(0x1000, 0x2000, 0x2000) },
	} {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// A host that lost everything is told everything again.
func TestMarkAllNeedSync(t *testing.T) {
	table, mem := newTable(t)
	mapPages(t, table, mem, 0x1000, rw, arch.Read, 0, rw|arch.Exec)
	h := newHost()
	if err := table.Sync(h); err != nil {
		t.Fatal(err)
	}
	table.Unmap(0x1000, 0x2000)
	table.MarkAllNeedSync()
	again := newHost()
	if err := table.Sync(again); err != nil {
		t.Fatal(err)
	}
	delete(h.pages, 0x1000)
	if diff := cmp.Diff(h.pages, again.pages, cmp.AllowUnexported(hostPage{})); diff != "" {
		t.Error(diff)
	}
}

// After a failed Sync the next one does what is left, in order.
func TestSyncGoesOnWhereItFailed(t *testing.T) {
	table, mem := newTable(t)
	mapPages(t, table, mem, 0x1000, rw, rw, rw, rw)
	h := newHost()
	h.failIn = 2
	if err := table.Sync(h); !errors.Is(err, errHost) || len(h.pages) != 2 {
		t.Fatalf("%v with %d pages", err, len(h.pages))
	}
	h.failIn, h.calls = 1<<30, 0
	if err := table.Sync(h); err != nil || len(h.pages) != 4 || h.calls != 2 {
		t.Fatalf("%v with %d pages, %d calls", err, len(h.pages), h.calls)
	}
}

// Two tables that share frames are used from two goroutines, as two vCPUs do.
func TestTablesInParallel(t *testing.T) {
	parent, mem := newTable(t)
	acc := make([]arch.Access, 64)
	for i := range acc {
		acc[i] = rw
	}
	mapPages(t, parent, mem, 0x100000, acc...)
	end := arch.Addr(0x100000 + 64*arch.PageSize)
	for range 20 {
		child := New(mem, testEnd)
		if err := parent.CopyOnWrite(child, 0, testEnd); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, table := range []*Table{parent, child} {
			wg.Go(func() {
				h := newHost()
				for a := arch.Addr(0x100000); a < end; a += arch.PageSize {
					if err := table.BreakCOW(a); err != nil {
						t.Error(err)
						return
					}
					if err := table.StoreUint64(a, uint64(a)); err != nil {
						t.Error(err)
					}
					if err := table.Sync(h); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		child.Destroy()
	}
	if got := mem.Stats().InUse; got != 64 {
		t.Errorf("%d frames in use, want 64", got)
	}
}

// count is the number of tables below and including n.
func (n *node) count() int {
	total := 1
	for _, kid := range n.kids {
		if kid != nil {
			total += kid.count()
		}
	}
	return total
}

// A guest that maps, touches and unmaps pages all over its space once made the
// monitor keep a table for each place for good.
func TestTablesOfUnmappedPagesAreGivenUp(t *testing.T) {
	table, mem := newTable(t)
	h := newHost()
	mapPages(t, table, mem, 0x1000, rw, rw) // stays
	for i := range arch.Addr(5000) {
		a := (i*7919%65536 + 1) * (leafSpan * 37)
		mapPages(t, table, mem, a, rw)
		if err := table.Sync(h); err != nil {
			t.Fatal(err)
		}
		table.Unmap(a, a+arch.PageSize)
		if err := table.Sync(h); err != nil {
			t.Fatal(err)
		}
		if n := table.root.count(); n > 1+3*minLeaves {
			t.Fatalf("%d tables for 2 pages after %d rounds", n, i)
		}
	}
	if table.leaves > minLeaves || table.Pages() != 2 || len(h.pages) != 2 {
		t.Errorf("%d leaves, %d pages, %d on the host", table.leaves, table.Pages(), len(h.pages))
	}
	// Tables with pages are kept, however many.
	for i := range arch.Addr(200) {
		mapPages(t, table, mem, (i+1)*leafSpan, rw)
	}
	for i := range arch.Addr(200) {
		if !table.Lookup((i + 1) * leafSpan).Present() {
			t.Fatalf("page %d is gone", i)
		}
	}
}

// A page that lost all rights was once unmapped; UML maps its frame without any.
func TestPageWithoutRightsStaysMapped(t *testing.T) {
	table, mem := newTable(t)
	h := newHost()
	mapPages(t, table, mem, 0x1000, rw)
	pfn := table.Lookup(0x1000).PFN()
	for _, acc := range []arch.Access{rw, 0, rw} {
		table.Protect(0x1000, 0x2000, acc)
		if err := table.Sync(h); err != nil {
			t.Fatal(err)
		}
		if got, ok := h.pages[0x1000]; !ok || got != (hostPage{pfn, acc}) {
			t.Errorf("%v: the host has %+v (%v)", acc, got, ok)
		}
	}
}
