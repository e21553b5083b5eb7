package physmem

import (
	"sync/atomic"
	"unsafe"
)

// CompareAndSwap replaces the word at an offset of a frame, a multiple of 4, if
// it is old, while guest code may change it.
func (m *Memory) CompareAndSwap(pfn PFN, offset uint64, old, new uint32) bool {
	b := m.Bytes(pfn)[offset : offset+4]
	// The linear view is a mapping of the host's that lives as long as m.
	return atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(&b[0])), old, new)
}
