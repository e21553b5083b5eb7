package physmem

import (
	"sync/atomic"
	"unsafe"
)

// CompareAndSwap replaces the word at the beginning of b, part of a frame in the
// linear view and aligned, if it is old, while guest code may change it.
func CompareAndSwap(b []byte, old, new uint32) bool {
	// The linear view is a mapping of the host's that lives as long as the memory.
	return atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(&b[:4][0])), old, new)
}
