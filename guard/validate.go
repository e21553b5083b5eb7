package guard

import (
	"fmt"

	"goskas/arch"
	"goskas/physmem"
	"goskas/stubexe/stubabi"
)

// Flags of mmap (asm-generic/mman-common.h, linux/mman.h).
const (
	mapShared = 0x01
	mapFixed  = 0x10
)

func allow(Call, Pages) string { return "" }

// validate lets an mmap through if the page table maps each of its pages to
// exactly the frame that it names, and lets the host grant what it asks for. An
// munmap is only held against the range: the entry that a queued one goes by
// has been cleared before.
func validate(c Call, p Pages) string {
	length := (c.Length + arch.PageSize - 1) &^ (arch.PageSize - 1)
	end := c.Addr + length
	switch {
	case c.Length == 0 || length == 0:
		return "empty range"
	case c.Addr%arch.PageSize != 0:
		return "address inside a page"
	case end < c.Addr || end > uint64(p.End()):
		return "range not in guest space"
	case c.Kind == stubabi.Munmap:
		return ""
	case c.Flags != mapShared|mapFixed:
		return fmt.Sprintf("flags %#x", c.Flags)
	case c.Offset%arch.PageSize != 0:
		return "offset inside a page"
	case c.Prot&^uint64(arch.Read|arch.Write|arch.Exec) != 0:
		return fmt.Sprintf("protection %#x", c.Prot)
	}
	for off := uint64(0); off < length; off += arch.PageSize {
		pfn := physmem.PFN((c.Offset + off) / arch.PageSize)
		if !p.Grants(arch.Addr(c.Addr+off), pfn, arch.Access(c.Prot)) {
			return fmt.Sprintf("page %#x does not map frame %d with %v", c.Addr+off, pfn, arch.Access(c.Prot))
		}
	}
	return ""
}
