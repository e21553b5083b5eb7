package mm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"goskas/arch"
	"goskas/physmem"
)

// liar models a host that is trusted with nothing: what it was told without a
// proof it may have done or not, page by page.
type liar struct {
	t *Table
	// may are the frames that the host may have at a page, with the rights.
	may map[arch.Addr]map[hostPage]bool
	// now are the calls of this round, in order.
	now []call
	// during, if set, runs while the table waits for a call: other threads
	// change the table then.
	during func()
}

type call struct {
	at   arch.Addr
	page hostPage // no rights: nobody gets at a frame there
}

func (h *liar) Map(a arch.Addr, length uint64, acc arch.Access, pfn physmem.PFN) error {
	for ; length > 0; length -= arch.PageSize {
		h.now = append(h.now, call{a, hostPage{pfn, acc}})
		a, pfn = a+arch.PageSize, pfn+1
	}
	if h.during != nil {
		h.during()
	}
	return nil
}

func (h *liar) Unmap(a arch.Addr, length uint64) error {
	for ; length > 0; length -= arch.PageSize {
		h.now = append(h.now, call{at: a})
		a += arch.PageSize
	}
	if h.during != nil {
		h.during()
	}
	return nil
}

// ran ends a round: proved, or not.
func (h *liar) ran(proved bool) {
	for _, c := range h.now {
		if proved {
			delete(h.may, c.at)
		}
		if c.page.acc == 0 {
			continue
		}
		if h.may[c.at] == nil {
			h.may[c.at] = make(map[hostPage]bool)
		}
		h.may[c.at][c.page] = true
	}
	h.now = h.now[:0]
}

// has reports that the host may have a frame somewhere.
func (h *liar) has(pfn physmem.PFN) bool {
	for _, pages := range h.may {
		for p := range pages {
			if p.pfn == pfn {
				return true
			}
		}
	}
	return slices.ContainsFunc(h.now, func(c call) bool { return c.page.acc != 0 && c.page.pfn == pfn })
}

// limboModel drives a few tables that share frames.
type limboModel struct {
	*testing.T
	rnd   *rand.Rand
	mem   *physmem.Memory
	hosts []*liar
	log   []string
}

func (m *limboModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *limboModel) bad(format string, args ...any) {
	m.Helper()
	for _, line := range m.log[max(0, len(m.log)-30):] {
		m.Log(line)
	}
	m.Fatalf(format, args...)
}

// limboPages is how many pages the tables have; few, so that things meet.
const limboPages = 12

func (m *limboModel) span() (start, end arch.Addr) {
	i := 1 + m.rnd.IntN(limboPages)
	j := i + 1 + m.rnd.IntN(3)
	return arch.Addr(i) * arch.PageSize, arch.Addr(min(j, limboPages+1)) * arch.PageSize
}

// change does something to a table that guest policy does.
func (m *limboModel) change(i int) {
	h := m.hosts[i]
	start, end := m.span()
	switch op := m.rnd.IntN(9); op {
	case 0, 1:
		pfn, err := m.mem.Alloc()
		if err != nil {
			m.bad("alloc: %v", err)
		}
		acc := arch.Access(m.rnd.IntN(8))
		m.note("%d: map %#x frame %d %v", i, start, pfn, acc)
		if err := h.t.Map(start, pfn, acc); err != nil {
			m.bad("map: %v", err)
		}
	case 2, 3:
		m.note("%d: unmap %#x-%#x", i, start, end)
		h.t.Unmap(start, end)
	case 4, 5:
		acc := arch.Access(m.rnd.IntN(8))
		if m.rnd.IntN(3) == 0 {
			acc = 0
		}
		m.note("%d: protect %#x-%#x %v", i, start, end, acc)
		h.t.Protect(start, end, acc)
	case 6:
		m.breakCOW(i, start)
	case 7:
		to, _ := m.span()
		if n := end - start; to+n <= (limboPages+1)*arch.PageSize && (start >= to+n || to >= end) {
			m.note("%d: move %#x-%#x to %#x", i, start, end, to)
			if err := h.t.Move(start, to, uint64(n)); err != nil {
				m.bad("move: %v", err)
			}
		}
	case 8:
		m.note("%d: touch %#x", i, start)
		h.t.Touch(start, arch.Access(m.rnd.IntN(8)))
	}
}

func (m *limboModel) breakCOW(i int, a arch.Addr) {
	h := m.hosts[i]
	before := h.t.Lookup(a)
	if !before.Present() {
		return
	}
	m.note("%d: break %#x", i, a)
	if err := h.t.BreakCOW(a); err != nil {
		m.bad("break: %v", err)
	}
	after := h.t.Lookup(a)
	if !before.COW() || after.COW() {
		return
	}
	// The page is the table's own now: nobody else may see what is written.
	for j, other := range m.hosts {
		if j != i && other.has(after.PFN()) {
			m.bad("table %d got frame %d for its own, which the host of %d may have", i, after.PFN(), j)
		}
	}
}

// fork replaces a table by a copy of another.
func (m *limboModel) fork(from, to int) {
	m.note("fork %d to %d", from, to)
	m.hosts[to].t.Destroy() // its stub is gone
	m.hosts[to] = m.fresh()
	if err := m.hosts[from].t.CopyOnWrite(m.hosts[to].t, 0, testEnd); err != nil {
		m.bad("copy: %v", err)
	}
}

func (m *limboModel) fresh() *liar {
	h := &liar{t: New(m.mem, testEnd), may: make(map[arch.Addr]map[hostPage]bool)}
	h.t.HoldRevoked()
	return h
}

// sync is a round of table i; with all it is one whose proof is one for all
// rounds before.
func (m *limboModel) sync(i int, all, proved bool) {
	h := m.hosts[i]
	m.note("%d: sync, all %v, proved %v", i, all, proved)
	sync := h.t.Sync
	if all {
		sync = h.t.SyncAll
	}
	changed := false
	h.during = func() {
		m.check()
		if m.rnd.IntN(8) == 0 {
			changed = true
			m.change(i)
		}
	}
	if err := sync(h); err != nil {
		m.bad("sync: %v", err)
	}
	h.during = nil
	if m.rnd.IntN(4) == 0 { // between the batch's last entry and the wake
		changed = true
		m.change(i)
	}
	h.ran(proved)
	if !proved {
		return
	}
	h.t.Proved()
	if changed || !all {
		return
	}
	if n := h.t.Held(); n != 0 || h.t.Unproved() {
		m.bad("table %d: %d frames held behind a proof, unproved %v", i, n, h.t.Unproved())
	}
	// The host has what the table grants, no more.
	for a, pages := range h.may {
		for p := range pages {
			if !h.t.Grants(a, p.pfn, p.acc) {
				m.bad("table %d: behind a proof the host has frame %d %v at %#x, which the table does not grant: %v",
					i, p.pfn, p.acc, a, h.t.Lookup(a))
			}
		}
	}
}

// check: no frame that a host may still have is free.
func (m *limboModel) check() {
	m.Helper()
	for i, h := range m.hosts {
		for a, pages := range h.may {
			for p := range pages {
				if m.mem.Refs(p.pfn) == 0 {
					m.bad("frame %d is free, and the host of table %d may have it at %#x", p.pfn, i, a)
				}
			}
		}
	}
}

// A frame is given back only when no host can have it any more, and then at once.
func TestLimboAgainstAHostThatLies(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for seed := range uint64(20) {
		mem, err := physmem.New(4 << 20)
		if err != nil {
			t.Fatal(err)
		}
		m := &limboModel{T: t, rnd: rand.New(rand.NewPCG(seed, 1)), mem: mem}
		for range 3 {
			m.hosts = append(m.hosts, m.fresh())
		}
		for range rounds {
			i := m.rnd.IntN(len(m.hosts))
			switch op := m.rnd.IntN(20); {
			case op < 11:
				m.change(i)
			case op < 17:
				m.sync(i, m.rnd.IntN(3) == 0, m.rnd.IntN(2) == 0)
			case op < 18:
				// Guests revoke before they share.
				m.sync(i, true, true)
				if j := m.rnd.IntN(len(m.hosts)); j != i {
					m.fork(i, j)
					m.sync(i, true, true)
				}
			default:
				m.sync(i, m.rnd.IntN(3) == 0, false)
			}
			m.check()
		}
		for _, h := range m.hosts {
			h.t.Destroy()
		}
		if n := mem.Stats().InUse; n != 0 {
			t.Errorf("%d frames are still in use", n)
		}
		if err := mem.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A page that was made inaccessible without a proof, and then unmapped, was once
// given back at once: the host could still have it.
func TestLimboHoldsAPageWithNoRights(t *testing.T) {
	table, mem := newTable(t)
	table.HoldRevoked()
	h := newHost()
	mapPages(t, table, mem, 0x1000, rw)
	pfn := table.Lookup(0x1000).PFN()
	if err := table.Sync(h); err != nil {
		t.Fatal(err)
	}
	table.Proved()
	table.Protect(0x1000, 0x2000, 0)
	if err := table.Sync(h); err != nil { // which nobody proves
		t.Fatal(err)
	}
	table.Unmap(0x1000, 0x2000)
	if mem.Refs(pfn) == 0 {
		t.Error("the frame is free without a proof")
	}
	if err := table.SyncAll(h); err != nil {
		t.Fatal(err)
	}
	table.Proved()
	if mem.Refs(pfn) != 0 || table.Unproved() {
		t.Errorf("%d references behind the proof, unproved %v", mem.Refs(pfn), table.Unproved())
	}
}

// A proof is wanted for what it would give back, not for what it would not.
func TestLimboWantsAProof(t *testing.T) {
	table, mem := newTable(t)
	table.HoldRevoked()
	h := newHost()
	const base = arch.Addr(0x10000)
	end := base + (2*proofAt+repeatAt)*arch.PageSize // the first of them are gone when it comes to repeat
	fill := func() {
		t.Helper()
		for a := base; a < end; a += arch.PageSize {
			mapPages(t, table, mem, a, rw)
		}
	}
	sync := func() {
		t.Helper()
		if err := table.Sync(h); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(want bool, when string) {
		t.Helper()
		if table.WantsProof() != want {
			t.Errorf("%s: wanted %v", when, !want)
		}
	}
	fill()
	sync()
	wants(false, "nothing was lost")
	table.Unmap(base, base+(proofAt-1)*arch.PageSize)
	sync()
	wants(false, "too few frames")
	table.Proved()
	table.Unmap(base, base+2*proofAt*arch.PageSize)
	sync()
	wants(true, "enough frames")
	if table.Proved(); table.Unproved() {
		t.Error("the proof gave nothing back")
	}
	wants(false, "all were given back")
	table.Unmap(base, base+3*proofAt*arch.PageSize)
	sync()
	table.Unmap(base, base+4*proofAt*arch.PageSize)
	sync()
	wants(false, "an earlier round is not repeated: this one proves nothing")
	table.Unmap(base, end)
	sync()
	wants(false, "nor does the next one")
	sync()
	wants(true, "that one repeats all")
}
