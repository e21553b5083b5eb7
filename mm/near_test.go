package mm

import (
	"testing"

	"goskas/arch"
	"goskas/physmem"
)

// runs counts mappings as the queue merges them.
type runs struct {
	maps, pages int
	next        arch.Addr
	nextPFN     physmem.PFN
}

func (r *runs) Map(a arch.Addr, n uint64, _ arch.Access, pfn physmem.PFN) error {
	if a != r.next || pfn != r.nextPFN {
		r.maps++
	}
	pages := n / arch.PageSize
	r.pages += int(pages)
	r.next, r.nextPFN = a+arch.Addr(n), pfn+physmem.PFN(pages)
	return nil
}

func (r *runs) Unmap(arch.Addr, uint64) error { return nil }

// Pages that come one by one, in memory that was used before, and copies of them
// that a child makes one by one, are one mapping on the host each.
func TestNeighboursAreOneMapping(t *testing.T) {
	const base, pages = arch.Addr(0x10000), 40
	mem, err := physmem.New(physmem.MinSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	parent, child := New(mem, 1<<30), New(mem, 1<<30)
	defer parent.Destroy()
	defer child.Destroy()
	fill := func() {
		t.Helper()
		for a := base; a < base+pages*arch.PageSize; a += arch.PageSize {
			pfn, err := parent.Alloc(a)
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Map(a, pfn, arch.Read|arch.Write); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := func(what string, table *Table) {
		t.Helper()
		r := &runs{}
		if err := table.SyncAll(r); err != nil {
			t.Fatal(err)
		}
		if r.maps != 1 || r.pages != pages {
			t.Errorf("%s: %d mappings of %d pages", what, r.maps, r.pages)
		}
	}
	fill()
	parent.Unmap(base, base+pages*arch.PageSize)
	if err := parent.Sync(&runs{}); err != nil {
		t.Fatal(err)
	}
	fill()
	one("pages", parent)
	if err := parent.CopyOnWrite(child, base, base+pages*arch.PageSize); err != nil {
		t.Fatal(err)
	}
	for a := base; a < base+pages*arch.PageSize; a += arch.PageSize {
		if err := child.BreakCOW(a); err != nil {
			t.Fatal(err)
		}
	}
	one("copies", child)
}
