package mm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"goskas/arch"
	"goskas/physmem"
)

const testEnd = arch.Addr(1<<47 - 3*arch.PageSize)

// pool are the pages that the model test uses: groups that straddle the borders
// of leaves and inner tables, and the last pages of the address space.
var pool = func() []arch.Addr {
	var list []arch.Addr
	for _, border := range []arch.Addr{4 * arch.PageSize, leafSpan, 5 * leafSpan, leafSpan * perNode, leafSpan * perNode * perNode} {
		for i := range arch.Addr(8) {
			list = append(list, border+(i-4)*arch.PageSize)
		}
	}
	for i := range arch.Addr(4) {
		list = append(list, testEnd-(4-i)*arch.PageSize)
	}
	return list
}()

// host models a stub's mappings.
type host struct {
	pages  map[arch.Addr]hostPage
	failIn int // calls until one fails; negative: never
	calls  int
}

type hostPage struct {
	pfn physmem.PFN
	acc arch.Access
}

var errHost = errors.New("host refused")

func newHost() *host { return &host{pages: map[arch.Addr]hostPage{}, failIn: -1} }

func (h *host) fail() bool {
	h.calls++
	h.failIn--
	return h.failIn == -1
}

func (h *host) Map(a arch.Addr, length uint64, acc arch.Access, pfn physmem.PFN) error {
	if h.failIn >= 0 && h.fail() {
		return errHost
	}
	for ; length > 0; length -= arch.PageSize {
		h.pages[a] = hostPage{pfn, acc}
		a, pfn = a+arch.PageSize, pfn+1
	}
	return nil
}

func (h *host) Unmap(a arch.Addr, length uint64) error {
	if h.failIn >= 0 && h.fail() {
		return errHost
	}
	for ; length > 0; length -= arch.PageSize {
		delete(h.pages, a)
		a += arch.PageSize
	}
	return nil
}

// cell models a frame: what is in its first word, and how many hold it.
type cell struct {
	pfn  physmem.PFN
	val  uint64
	refs int
}

// modelPage is what an entry must say.
type modelPage struct {
	c     *cell
	acc   arch.Access
	cow   bool
	dirty bool
}

// space is a table beside its model and the host that follows it.
type space struct {
	t     *Table
	host  *host
	pages map[arch.Addr]modelPage
}

type model struct {
	*testing.T
	rnd    *rand.Rand
	mem    *physmem.Memory
	spaces []*space
	shared []*cell // held by the test itself, as a page cache would
	stamp  uint64
	log    []string
}

func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
	if len(m.log) > 40 {
		m.log = m.log[1:]
	}
}

func (m *model) bad(format string, args ...any) {
	m.Helper()
	for _, line := range m.log {
		m.Log(line)
	}
	m.Fatalf(format, args...)
}

func (m *model) newCell() *cell {
	pfn, err := m.mem.Alloc()
	if err != nil {
		m.bad("alloc: %v", err)
	}
	m.stamp++
	b := m.mem.Bytes(pfn)
	b[0], b[1], b[2] = byte(m.stamp), byte(m.stamp>>8), byte(m.stamp>>16)
	return &cell{pfn: pfn, val: m.stamp & 0xffffff, refs: 1}
}

func (m *model) pick() *space     { return m.spaces[m.rnd.IntN(len(m.spaces))] }
func (m *model) page() arch.Addr  { return pool[m.rnd.IntN(len(pool))] }
func (m *model) acc() arch.Access { return arch.Access(m.rnd.IntN(8)) }

// span is a range, now and then a huge one.
func (m *model) span() (start, end arch.Addr) {
	if m.rnd.IntN(40) == 0 {
		return 0, testEnd
	}
	i := m.rnd.IntN(len(pool))
	j := min(len(pool)-1, i+m.rnd.IntN(12))
	return pool[i], pool[j] + arch.PageSize
}

func (s *space) drop(a arch.Addr) {
	if p, ok := s.pages[a]; ok {
		p.c.refs--
		delete(s.pages, a)
	}
}

func (s *space) in(start, end arch.Addr) []arch.Addr {
	var list []arch.Addr
	for a := range s.pages {
		if a >= start && a < end {
			list = append(list, a)
		}
	}
	slices.Sort(list)
	return list
}

func (m *model) step() {
	s := m.pick()
	switch op := m.rnd.IntN(14); op {
	case 0, 1, 2:
		a, acc, c := m.page(), m.acc(), m.newCell()
		m.note("map %#x frame %d %v", a, c.pfn, acc)
		if err := s.t.Map(a, c.pfn, acc); err != nil {
			m.bad("map: %v", err)
		}
		s.drop(a)
		s.pages[a] = modelPage{c, acc, false, acc&arch.Write != 0}
	case 3:
		a, acc, c := m.page(), m.acc(), m.shared[m.rnd.IntN(len(m.shared))]
		m.note("map shared %#x frame %d %v", a, c.pfn, acc)
		m.mem.Ref(c.pfn)
		c.refs++
		if err := s.t.MapShared(a, c.pfn, acc); err != nil {
			m.bad("map shared: %v", err)
		}
		s.drop(a)
		s.pages[a] = modelPage{c, acc, true, acc&arch.Write != 0}
	case 4:
		start, end := m.span()
		m.note("unmap %#x-%#x", start, end)
		s.t.Unmap(start, end)
		for _, a := range s.in(start, end) {
			s.drop(a)
		}
	case 5:
		start, end := m.span()
		acc := m.acc()
		m.note("protect %#x-%#x %v", start, end, acc)
		s.t.Protect(start, end, acc)
		for _, a := range s.in(start, end) {
			p := s.pages[a]
			p.acc, p.dirty = acc, p.dirty || acc&arch.Write != 0
			s.pages[a] = p
		}
	case 6, 7:
		m.share(s, op == 6)
	case 8, 9:
		m.breakCOW(s)
	case 10:
		a, acc := m.page(), m.acc()
		m.note("touch %#x %v", a, acc)
		s.t.Touch(a+arch.Addr(m.rnd.IntN(arch.PageSize)), acc)
		if p, ok := s.pages[a]; ok {
			p.dirty = p.dirty || acc&arch.Write != 0
			s.pages[a] = p
		}
	case 11:
		m.move(s)
	case 12:
		m.write(s)
	case 13:
		if m.rnd.IntN(4) == 0 {
			s.host.failIn = m.rnd.IntN(5)
		}
		m.sync(s)
	}
}

func (m *model) share(s *space, cow bool) {
	d := m.pick()
	start, end := m.span()
	for _, a := range s.in(start, end) {
		if _, there := d.pages[a]; there {
			return // the destination must be empty
		}
	}
	if d == s || slices.Index(m.spaces, d) < slices.Index(m.spaces, s) {
		return // parents are locked first
	}
	m.note("share %#x-%#x cow %v", start, end, cow)
	fn := s.t.Share
	if cow {
		fn = s.t.CopyOnWrite
	}
	if err := fn(d.t, start, end); err != nil {
		m.bad("share: %v", err)
	}
	for _, a := range s.in(start, end) {
		p := s.pages[a]
		p.cow = p.cow || cow
		p.c.refs++
		s.pages[a], d.pages[a] = p, p
	}
}

func (m *model) breakCOW(s *space) {
	a := m.page()
	m.note("break %#x", a)
	err := s.t.BreakCOW(a + 17)
	p, ok := s.pages[a]
	if !ok {
		var f *Fault
		if !errors.As(err, &f) || f.Addr != a || f.Access != arch.Write {
			m.bad("break of an absent page: %v", err)
		}
		return
	}
	if err != nil {
		m.bad("break: %v", err)
	}
	if p.cow && p.c.refs > 1 {
		p.c.refs--
		p.c = &cell{pfn: s.t.Lookup(a).PFN(), val: p.c.val, refs: 1}
		for _, o := range m.spaces {
			for b, q := range o.pages {
				if (o != s || b != a) && q.c.pfn == p.c.pfn {
					m.bad("break gave frame %d, which is in use", p.c.pfn)
				}
			}
		}
	}
	p.cow, p.dirty = false, true
	s.pages[a] = p
}

func (m *model) move(s *space) {
	from, to := m.page(), m.page()
	n := arch.Addr(1+m.rnd.IntN(6)) * arch.PageSize
	if from < to+n && to < from+n || from+n > testEnd || to+n > testEnd {
		return
	}
	m.note("move %#x %#x %#x", from, to, n)
	if err := s.t.Move(from, to, uint64(n)); err != nil {
		m.bad("move: %v", err)
	}
	for _, a := range s.in(to, to+n) {
		s.drop(a)
	}
	for _, a := range s.in(from, from+n) {
		s.pages[to+a-from] = s.pages[a]
		delete(s.pages, a)
	}
}

// write is an access by the monitor: it must fault where the guest's would.
func (m *model) write(s *space) {
	a := m.page()
	m.stamp++
	v := m.stamp & 0xffffff
	m.note("write %#x", a)
	_, err := s.t.CopyOut(a, []byte{byte(v), byte(v >> 8), byte(v >> 16)})
	p, ok := s.pages[a]
	if may := ok && p.acc&arch.Write != 0 && !p.cow; may != (err == nil) {
		m.bad("write to %#x (%+v): %v", a, p, err)
	} else if may {
		p.c.val = v
	}
}

func (m *model) sync(s *space) {
	m.note("sync, failing in %d", s.host.failIn)
	err := s.t.Sync(s.host)
	s.host.failIn = -1
	if err != nil {
		if !errors.Is(err, errHost) {
			m.bad("sync: %v", err)
		}
		m.note("sync again")
		if err := s.t.Sync(s.host); err != nil {
			m.bad("sync after a failure: %v", err)
		}
	}
	for a, p := range s.pages {
		want := hostPage{p.c.pfn, hostAccess(p)} // without any right, too
		if got, there := s.host.pages[a]; !there || got != want {
			m.bad("%#x: host has %+v (%v), the table grants %+v", a, got, there, want)
		}
	}
	for a, h := range s.host.pages {
		if _, ok := s.pages[a]; !ok {
			m.bad("%#x: stale host mapping %+v", a, h)
		}
	}
	calls := len(s.host.pages)
	rec := &host{pages: map[arch.Addr]hostPage{}, failIn: 1 << 30}
	if err := s.t.Sync(rec); err != nil || rec.calls != 0 {
		m.bad("a second sync made %d calls (%d pages), error %v", rec.calls, calls, err)
	}
}

// hostAccess is what the host may grant for a page: no writing before the
// shared frame is copied.
func hostAccess(p modelPage) arch.Access {
	if p.cow || !p.dirty {
		return p.acc &^ arch.Write
	}
	return p.acc
}

func (m *model) check() {
	cells := map[physmem.PFN]*cell{}
	inUse := 0
	for _, c := range m.shared {
		cells[c.pfn] = c
	}
	for i, s := range m.spaces {
		if got := s.t.Pages(); got != len(s.pages) {
			m.bad("space %d has %d pages, want %d", i, got, len(s.pages))
		}
		seen := 0
		s.t.Each(0, testEnd, func(a arch.Addr, e PTE) bool {
			p, ok := s.pages[a]
			if !ok || e.PFN() != p.c.pfn || e.Access() != p.acc || e.COW() != p.cow || e.Dirty() != p.dirty ||
				!e.Young() || e.Host() != hostAccess(p) || e != s.t.lookupFor(a) {
				m.bad("space %d, %#x: entry %v, want %+v (%v)", i, a, e, p, ok)
			}
			seen++
			return true
		})
		if seen != len(s.pages) {
			m.bad("space %d: %d entries, want %d", i, seen, len(s.pages))
		}
		for _, p := range s.pages {
			cells[p.c.pfn] = p.c
		}
	}
	for pfn, c := range cells {
		inUse++
		if got := m.mem.Refs(pfn); got != c.refs {
			m.bad("frame %d has %d references, want %d", pfn, got, c.refs)
		}
		b := m.mem.Bytes(pfn)
		if got := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16; got != c.val {
			m.bad("frame %d contains %#x, want %#x", pfn, got, c.val)
		}
	}
	if got := m.mem.Stats().InUse; got != inUse {
		m.bad("%d frames in use, want %d", got, inUse)
	}
}

// lookupFor is Lookup for a callback of Each, which holds the lock.
func (t *Table) lookupFor(a arch.Addr) PTE { return *t.lookup(a) }

func newModel(t *testing.T, rnd *rand.Rand) *model {
	mem, err := physmem.New(physmem.MinSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	mem.SetPoison(true)
	m := &model{T: t, rnd: rnd, mem: mem}
	for range 3 {
		table := New(mem, testEnd)
		table.pruneAt = 1 // and from then on after every few new tables
		m.spaces = append(m.spaces, &space{t: table, host: newHost(), pages: map[arch.Addr]modelPage{}})
	}
	for range 3 {
		m.shared = append(m.shared, m.newCell())
	}
	return m
}

// finish takes everything apart: only the test's own frames may be left.
func (m *model) finish() {
	for _, s := range m.spaces {
		m.sync(s)
		s.t.Destroy()
		if s.t.Pages() != 0 {
			m.bad("%d pages left", s.t.Pages())
		}
	}
	if got := m.mem.Stats().InUse; got != len(m.shared) {
		m.bad("%d frames left, want %d", got, len(m.shared))
	}
}

// Long random sequences of every operation, on three tables that share frames,
// against a plain model: entries, frames, contents and the host's mappings.
func TestTableAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		m := newModel(t, rand.New(rand.NewPCG(seed, 1)))
		for i := range 15000 {
			m.step()
			if i%16 == 0 {
				for _, s := range m.spaces {
					s.t.pruneAt = 1
				}
				m.check()
			}
		}
		m.finish()
	}
}

// byteSource makes a random source of fuzz input. Behind its end it goes on with
// a sequence of its own: math/rand rejects some values, and would wait forever
// for others.
type byteSource struct {
	b    []byte
	tail uint64
}

func (s *byteSource) Uint64() (v uint64) {
	for i := range 8 {
		if len(s.b) > 0 {
			v |= uint64(s.b[0]) << (8 * i)
			s.b = s.b[1:]
		}
	}
	s.tail += 0x9e3779b97f4a7c15
	return v ^ s.tail
}

func FuzzTable(f *testing.F) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 4 {
		b := make([]byte, 4000)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src := &byteSource{b: b[:min(len(b), 1<<14)]}
		m := newModel(t, rand.New(src))
		for len(src.b) > 0 {
			m.step()
			m.check()
		}
		m.finish()
	})
}
