package guard

import (
	"math"
	"slices"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/internal/probe"
	"goskas/physmem"
	"goskas/stubexe/stubabi"
)

// pages is a page table for tests.
type pages struct {
	end arch.Addr
	at  map[arch.Addr]page
}

type page struct {
	pfn physmem.PFN
	acc arch.Access
}

func (p *pages) End() arch.Addr { return p.end }

func (p *pages) Grants(a arch.Addr, pfn physmem.PFN, acc arch.Access) bool {
	e, ok := p.at[a]
	return ok && e.pfn == pfn && acc&^e.acc == 0
}

const (
	end = arch.Addr(0x7fffffffc000)

	r  = uint64(arch.Read)
	rw = uint64(arch.Read | arch.Write)
	rx = uint64(arch.Read | arch.Exec)

	fixed = mapShared | mapFixed
)

// table has a run of three frames, a hole, a foreign frame between two of its
// own, and the last page of guest space.
func table() *pages {
	return &pages{end: end, at: map[arch.Addr]page{
		0x10000:      {100, arch.Read | arch.Write},
		0x11000:      {101, arch.Read | arch.Write},
		0x12000:      {102, arch.Read},
		0x14000:      {104, arch.Read | arch.Exec},
		0x20000:      {200, arch.Read},
		0x21000:      {999, arch.Read},
		0x22000:      {202, arch.Read},
		end - page4K: {300, arch.Read | arch.Write},
		0:            {0, arch.Read},
	}}
}

const page4K = arch.PageSize

func mmap(addr, length, prot, offset uint64) Call {
	return Call{Kind: stubabi.Mmap, Addr: addr, Length: length, Prot: prot, Flags: fixed, Offset: offset}
}

func munmap(addr, length uint64) Call {
	return Call{Kind: stubabi.Munmap, Addr: addr, Length: length}
}

func TestValidate(t *testing.T) {
	const top = uint64(end)
	flags := func(f uint64) Call {
		c := mmap(0x10000, page4K, r, 100*page4K)
		c.Flags = f
		return c
	}
	for _, c := range []struct {
		name string
		call Call
		want string // how the reason begins; "" lets the call through
	}{
		{"one page", mmap(0x10000, page4K, rw, 100*page4K), ""},
		{"less access than granted", mmap(0x10000, page4K, r, 100*page4K), ""},
		{"no access at all", mmap(0x10000, page4K, 0, 100*page4K), ""},
		{"a run", mmap(0x10000, 2*page4K, rw, 100*page4K), ""},
		{"a length inside a page is rounded up, as the host does", mmap(0x10000, page4K+1, rw, 100*page4K), ""},
		{"executable", mmap(0x14000, page4K, rx, 104*page4K), ""},
		{"the last page", mmap(top-page4K, page4K, rw, 300*page4K), ""},
		{"frame 0 at 0", mmap(0, page4K, r, 0), ""},

		{"another frame", mmap(0x10000, page4K, r, 101*page4K), "page 0x10000 does not map frame 101 with "},
		{"no frame that there can be", mmap(0x10000, page4K, r, 1<<63), "page 0x10000 does not map frame "},
		{"a frame's number and 2 to the 32", mmap(0x10000, page4K, r, (1<<32+100)*page4K), "page 0x10000 does not map frame "},
		{"nothing there", mmap(0x13000, page4K, r, 103*page4K), "page 0x13000 does not map frame 103"},
		{"nothing there, without access", mmap(0x13000, page4K, 0, 103*page4K), "page 0x13000 does not map frame 103"},
		{"a foreign frame, without access", mmap(0x10000, page4K, 0, 200*page4K), "page 0x10000 does not map frame 200"},
		{"writing a read-only frame", mmap(0x12000, page4K, rw, 102*page4K), "page 0x12000 does not map frame 102"},
		{"executing what is not", mmap(0x10000, page4K, rx, 100*page4K), "page 0x10000 does not map frame 100"},
		{"a run whose last page is read-only", mmap(0x10000, 3*page4K, rw, 100*page4K), "page 0x12000 "},
		{"a run with a foreign frame", mmap(0x20000, 3*page4K, r, 200*page4K), "page 0x21000 does not map frame 201"},
		{"a run into a hole", mmap(0x12000, 2*page4K, r, 102*page4K), "page 0x13000 "},
		{"one byte into the next page", mmap(0x12000, page4K+1, r, 102*page4K), "page 0x13000 "},
		{"frames that wrap", mmap(0x10000, 2*page4K, r, math.MaxUint64&^(page4K-1)), "page 0x10000 "},

		{"empty", mmap(0x10000, 0, r, 100*page4K), "empty range"},
		{"length that rounds up to nothing", mmap(0x10000, math.MaxUint64, r, 100*page4K), "empty range"},
		{"address inside a page", mmap(0x10001, page4K, r, 100*page4K), "address inside a page"},
		{"offset inside a page", mmap(0x10000, page4K, r, 100*page4K+8), "offset inside a page"},
		{"the stub's code", mmap(top, page4K, rx, 100*page4K), "range not in guest space"},
		{"over the end", mmap(top-page4K, 2*page4K, r, 300*page4K), "range not in guest space"},
		{"over the end by a byte", mmap(top-page4K, page4K+1, r, 300*page4K), "range not in guest space"},
		{"the stub's data", mmap(top+page4K, page4K, rw, 100*page4K), "range not in guest space"},
		{"kernel half", mmap(1<<63, page4K, r, 100*page4K), "range not in guest space"},
		{"wraps to 0", mmap(math.MaxUint64&^(page4K-1), page4K, r, 0), "range not in guest space"},
		{"wraps to guest space", mmap(math.MaxUint64&^(page4K-1), 0x12000, r, 0), "range not in guest space"},
		{"longest length", mmap(0x10000, math.MaxUint64&^(page4K-1), r, 100*page4K), "range not in guest space"},

		{"not fixed", flags(mapShared), "flags 0x1"},
		{"private", flags(0x2 | mapFixed), "flags 0x12"},
		{"no flags", flags(0), "flags 0x0"},
		{"anonymous", flags(fixed | 0x20), "flags 0x31"},
		{"grows down", flags(fixed | 0x100), "flags 0x111"},
		{"populate", flags(fixed | 0x8000), "flags 0x8011"},
		{"huge pages", flags(fixed | 0x40000), "flags 0x40011"},
		{"high flags", flags(fixed | 1<<32), "flags 0x100000011"},
		{"unknown protection", mmap(0x10000, page4K, r|8, 100*page4K), "protection 0x9"},
		{"PROT_GROWSDOWN", mmap(0x10000, page4K, r|0x01000000, 100*page4K), "protection 0x1000001"},
		{"high protection", mmap(0x10000, page4K, r|1<<32, 100*page4K), "protection 0x100000001"},
		{"protection that shrinks to none", mmap(0x10000, page4K, 1<<8|r, 100*page4K), "protection 0x101"},

		{"munmap a page", munmap(0x13000, page4K), ""},
		{"munmap everything", munmap(0, top), ""},
		{"munmap the last page", munmap(top-page4K, page4K), ""},
		{"munmap nothing", munmap(0x13000, 0), "empty range"},
		{"munmap what rounds up to nothing", munmap(0x13000, math.MaxUint64-1), "empty range"},
		{"munmap from inside a page", munmap(0x13008, page4K), "address inside a page"},
		{"munmap the stub's code", munmap(top, page4K), "range not in guest space"},
		{"munmap over the end", munmap(0, top+1), "range not in guest space"},
		{"munmap the whole", munmap(0, top+3*page4K), "range not in guest space"},
		{"munmap that wraps", munmap(math.MaxUint64&^(page4K-1), 2*page4K), "range not in guest space"},
	} {
		got := Validate.Check(c.call, table())
		if got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := Notify.Check(c.call, table()); got != "" {
			t.Errorf("%s: notify says %q", c.name, got)
		}
	}
}

// What passes is within what the table grants, page by page, whatever was asked.
func FuzzValidate(f *testing.F) {
	f.Add(uint8(1), uint64(0x10000), uint64(page4K), rw, uint64(fixed), uint64(100*page4K))
	f.Add(uint8(2), uint64(0), uint64(end), uint64(0), uint64(0), uint64(0))
	f.Add(uint8(1), uint64(math.MaxUint64), uint64(math.MaxUint64), rw, uint64(fixed), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, kind uint8, addr, length, prot, flags, offset uint64) {
		p := table()
		c := Call{Kind: stubabi.Kind(kind), Addr: addr, Length: length, Prot: prot, Flags: flags, Offset: offset}
		if Validate.Check(c, p) != "" {
			return
		}
		if length == 0 || length > uint64(end) || addr > uint64(end)-length {
			t.Fatalf("%+v is not in guest space", c)
		}
		if c.Kind == stubabi.Munmap {
			return
		}
		for off := uint64(0); off < length; off += page4K {
			e, ok := p.at[arch.Addr(addr+off)]
			if !ok || uint64(e.pfn) != offset/page4K+off/page4K || prot&^uint64(e.acc) != 0 || flags != fixed {
				t.Fatalf("%+v, page %d: %+v", c, off/page4K, e)
			}
		}
	})
}

// countingPages counts what it is asked.
type countingPages struct {
	*pages
	asked int
}

func (p *countingPages) Grants(a arch.Addr, pfn physmem.PFN, acc arch.Access) bool {
	p.asked++
	return p.pages.Grants(a, pfn, acc)
}

// A stub cannot make the monitor walk all of guest space: it stops at the first
// page that is not granted.
func TestValidateStopsAtTheFirstPage(t *testing.T) {
	p := &countingPages{pages: table()}
	if got := Validate.Check(mmap(0x10000, uint64(end)-0x10000, rw, 100*page4K), p); got == "" || p.asked != 3 {
		t.Errorf("%q after %d pages", got, p.asked)
	}
	if got := Validate.Check(munmap(0, uint64(end)), p); got != "" || p.asked != 3 {
		t.Errorf("munmap: %q after %d pages", got, p.asked)
	}
}

func TestValidateAllocatesNothing(t *testing.T) {
	var p Pages = table()
	call := mmap(0x10000, 2*page4K, rw, 100*page4K)
	if n := testing.AllocsPerRun(100, func() { Validate.Check(call, p) }); n != 0 {
		t.Errorf("%v allocations for a call that is let through", n)
	}
}

func TestGuards(t *testing.T) {
	if got := (Guard{}).String(); got != Default().String() {
		t.Errorf("the zero value is %q", got)
	}
	names := Names()
	for i, g := range All() {
		if got, err := Parse(names[i]); err != nil || got.String() != g.String() {
			t.Errorf("%s: %v, %v", names[i], got, err)
		}
		if (len(g.Routed) > 0) != (g.Check != nil) {
			t.Errorf("%v: routed %v, but checked %v", g, g.Routed, g.Check != nil)
		}
		has := func(f probe.Feature) bool {
			return slices.ContainsFunc(g.Needs, func(n probe.Feature) bool { return n.Name == f.Name })
		}
		if len(g.Routed) > 0 && (!has(probe.UserNotif) || !has(probe.SeccompTSyncListener) || !has(probe.PidfdGetfd)) {
			t.Errorf("%v has calls routed, but does not say what it needs", g)
		}
	}
	if _, err := Parse("strict"); err == nil || err.Error() != `no guard "strict": give `+strings.Join(names, ", ") {
		t.Errorf("strict: %v", err)
	}
}
