package stubabi

import (
	"sync/atomic"
	"unsafe"
)

// DataAt views a page of shared memory as Data. The page must be page aligned
// and stay mapped as long as the result is used: it lies in physmem's linear
// view, which the garbage collector neither moves nor frees.
func DataAt(page []byte) *Data {
	checkPage(page)
	return (*Data)(unsafe.Pointer(&page[0]))
}

// Addr is the word's address, for the futex system call.
func (w *Word) Addr() unsafe.Pointer { return unsafe.Pointer(w) }

// load16 reads a 16-bit field exactly once: sync/atomic has no 16-bit load, so
// it reads the aligned 32-bit word around the field.
func load16(p *uint16) uint16 {
	at := uintptr(unsafe.Pointer(p))
	word := (*uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(p)) &^ 3))
	return uint16(atomic.LoadUint32(word) >> (8 * (at & 3)))
}

// Bytes is the wire form of i, as the stub reads it.
func (i *InitData) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(i)), unsafe.Sizeof(*i))
}

// ControlAt views a page of shared memory as Control, as DataAt does.
func ControlAt(page []byte) *Control {
	checkPage(page)
	return (*Control)(unsafe.Pointer(&page[0]))
}

// SealedDataAt views a page of shared memory as SealedData, as DataAt does.
func SealedDataAt(page []byte) *SealedData {
	checkPage(page)
	return (*SealedData)(unsafe.Pointer(&page[0]))
}

func checkPage(page []byte) {
	if len(page) < PageSize || uintptr(unsafe.Pointer(&page[0]))%PageSize != 0 {
		panic("BUG: stub data is not a whole page")
	}
}

// Bytes is the wire form of i, as the stub reads it.
func (i *SealedInit) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(i)), unsafe.Sizeof(*i))
}
