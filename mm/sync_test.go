package mm

import (
	"testing"

	"goskas/arch"
	"goskas/physmem"
)

// meddler changes the table while a Sync is under way, as another task of the
// address space may.
type meddler struct {
	told map[arch.Addr]int
	once func()
}

func (m *meddler) Map(a arch.Addr, _ uint64, _ arch.Access, _ physmem.PFN) error {
	m.told[a]++
	if m.once != nil && len(m.told) > syncSteps {
		m.once()
		m.once = nil
	}
	return nil
}

func (m *meddler) Unmap(a arch.Addr, _ uint64) error { m.told[a]++; return nil }

// One Sync never tells of two states of a page: what changes behind its walk is
// the next one's.
func TestSyncTellsOfAPageOnce(t *testing.T) {
	const base, pages = arch.Addr(0x10000), 3 * syncSteps
	mem, err := physmem.New(physmem.MinSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	table := New(mem, 1<<30)
	defer table.Destroy()
	for i := range arch.Addr(pages) {
		pfn, err := mem.Alloc()
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Map(base+i*arch.PageSize, pfn, arch.Read); err != nil {
			t.Fatal(err)
		}
	}
	last := base + (pages-1)*arch.PageSize
	m := &meddler{told: make(map[arch.Addr]int), once: func() {
		table.Unmap(base, base+arch.PageSize)
		table.Unmap(last, last+arch.PageSize)
	}}
	if err := table.Sync(m); err != nil {
		t.Fatal(err)
	}
	for a, n := range m.told {
		if n != 1 {
			t.Errorf("page %#x was told of %d times", uint64(a), n)
		}
	}
	if m.told[last] != 0 || !table.Dirty() {
		t.Errorf("the last page was told of %d times; dirty: %v", m.told[last], table.Dirty())
	}
	m.told = make(map[arch.Addr]int)
	if err := table.Sync(m); err != nil {
		t.Fatal(err)
	}
	if len(m.told) != 1 || m.told[base] != 1 || table.Dirty() {
		t.Errorf("the next Sync told of %v; dirty: %v", m.told, table.Dirty())
	}
}
