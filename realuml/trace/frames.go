package trace

import (
	"fmt"
	"slices"
	"strings"
)

// frames names pages of physical memory by the page that they were first mapped
// at, for as long as the stub has a mapping of them.
type frames struct {
	first  map[uint64]string // by offset
	mapped map[uint64]uint64 // page address to offset
	uses   map[uint64]int    // mappings by offset
}

func (f *frames) reset() {
	*f = frames{first: make(map[uint64]string), mapped: make(map[uint64]uint64), uses: make(map[uint64]int)}
}

// mapPage notes a mapping at addr, which is called name, and says what is mapped.
func (f *frames) mapPage(addr, offset uint64, name string) string {
	f.uses[offset]++ // first: the same frame may be mapped there already
	f.unmapPage(addr)
	f.mapped[addr] = offset
	if first, ok := f.first[offset]; ok {
		return "the frame of " + first
	}
	f.first[offset] = name
	return "a new frame"
}

func (f *frames) unmapPage(addr uint64) {
	offset, ok := f.mapped[addr]
	if !ok {
		return
	}
	delete(f.mapped, addr)
	if f.uses[offset]--; f.uses[offset] == 0 {
		delete(f.uses, offset)
		delete(f.first, offset)
	}
}

// in lists the mapped pages of a range, in order.
func (f *frames) in(start, end uint64) []uint64 {
	var pages []uint64
	for addr := range f.mapped {
		if addr >= start && addr < end {
			pages = append(pages, addr)
		}
	}
	slices.Sort(pages)
	return pages
}

// maxMapping is more than any guest of a comparison has.
const maxMapping = 1 << 28

// mmap is a mapping that the stub has made: a line for each page.
func (n *normalizer) mmap(e Event) error {
	addr, err := number(e.Args[0])
	if err != nil {
		return err
	}
	length, err := number(e.Args[1])
	if err != nil {
		return err
	}
	offset, err := number(e.Args[5])
	if err != nil {
		return err
	}
	if failed := errno(e.Result); strings.HasPrefix(failed, "-1") || failed == "?" {
		n.emit("mmap %s+%d %s %s fd %s = %s", n.mustName(addr), length, e.Args[2], e.Args[3], e.Args[4], failed)
		return nil
	}
	if length > maxMapping {
		return fmt.Errorf("a mapping of %d bytes", length)
	}
	for o := uint64(0); o < length; o += page {
		name := n.mustName(addr + o)
		n.emit("mmap %s %s %s fd %s %s", name, e.Args[2], e.Args[3], e.Args[4], n.mapPage(addr+o, offset+o, name))
	}
	return nil
}

// munmap takes mappings away: a line for each page that had one.
func (n *normalizer) munmap(e Event) error {
	addr, err := number(e.Args[0])
	if err != nil {
		return err
	}
	length, err := number(e.Args[1])
	if err != nil {
		return err
	}
	pages := n.in(addr, addr+length)
	switch failed := errno(e.Result); {
	case failed != "0":
		n.emit("munmap %s, %d bytes = %s", n.mustName(addr), length, failed)
		return nil
	case addr == 0 && length == n.code:
		n.emit("munmap everything below CODE")
		n.started = true
	case len(pages) == 0:
		n.emit("munmap %s, %d bytes, of which none is mapped", n.mustName(addr), length)
	}
	for _, addr := range pages {
		n.emit("munmap %s", n.mustName(addr))
		n.unmapPage(addr)
	}
	return nil
}
