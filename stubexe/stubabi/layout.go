package stubabi

import "structs"

// PageSize is the page size of every supported host.
const PageSize = 4096

// FirstFD is the number under which a stub gets the first of its descriptors;
// the others follow. Its descriptor 0 is the socket.
const FirstFD = 3

// MaxFDs is the number of descriptors that one batch can pass (UML's
// STUB_MAX_FDS).
const MaxFDs = 4

// ListenerFD is the number of the filter's listener in the stub: the lowest that
// is free, behind the socket.
const ListenerFD = 1

// MaxEntries is the capacity of a batch: what fits into the queue page less
// 128 bytes for the fields behind it.
const MaxEntries = (PageSize - 128) / 40

// Kind says what a queue entry does. The values are UML's.
type Kind uint32

// The kinds of entry; zero is never valid, so a page of zeros does nothing.
const (
	Mmap   Kind = 1
	Munmap Kind = 2
)

func (k Kind) String() string {
	switch k {
	case Mmap:
		return "mmap"
	case Munmap:
		return "munmap"
	}
	return "unknown entry"
}

// Entry is one queued call. Writer: the monitor, while the stub waits.
type Entry struct {
	_      structs.HostLayout
	Addr   uint64
	Length uint64
	Offset uint64 // into the descriptor of the slot; mmap only
	Slot   int32  // index into the descriptors passed with the batch
	Prot   int32  // PROT_* of asm-generic/mman-common.h
	Kind   Kind
	_      uint32
}

// Data is the queue page, the first page of stub data. The page behind it is
// the signal stack. The layout is that of UML 7.2 on amd64 (struct stub_data
// in arch/um/include/shared/skas/stub-data.h), so that a trace of our stub can
// be laid beside one of UML's.
//
// Everything here can be written by a hijacked stub at any time: the monitor
// reads it through Report only, and trusts nothing that it wrote earlier.
type Data struct {
	_ structs.HostLayout
	// Err is the result of the call that failed, negative, or 0. Stub,
	// while it runs a batch; the monitor zeroes it.
	Err int64
	// Len is the number of entries to run; the stub leaves 0, or the
	// index of the entry that failed.
	Len int32
	_   uint32
	// Entries: monitor, while the stub waits.
	Entries [MaxEntries]Entry
	// RestartWait asks the stub to report again, as SIGSYS, once the batch
	// is done. Monitor sets it, stub clears it.
	RestartWait uint16
	_           uint16
	// Futex is the handshake word. Both, atomic.
	Futex Word
	// Signal is the signal reported. Stub, before it sets Futex.
	Signal int32
	// SIOffset and MCtxOffset say where in the signal stack siginfo and
	// mcontext lie. Stub, before it sets Futex.
	SIOffset   uint16
	MCtxOffset uint16
	// Sync asks for FSBase or GSBase to be loaded. Monitor sets it, while
	// the stub waits; the stub clears it.
	Sync   uint32
	_      uint32
	FSBase uint64
	GSBase uint64
	_      [PageSize - 0xfb0]byte
}

// Bits of Data.Sync.
const (
	SyncFS = 1 << iota
	SyncGS
)

// Offsets of the fields that the stub's machine code uses; a test holds them
// against the struct.
const (
	OffErr         = 0x0
	OffLen         = 0x8
	OffEntries     = 0x10
	OffRestartWait = 0xf88
	OffFutex       = 0xf8c
	OffSignal      = 0xf90
	OffSIOffset    = 0xf94
	OffMCtxOffset  = 0xf96
	OffSync        = 0xf98
	OffFSBase      = 0xfa0
	OffGSBase      = 0xfa8

	EntrySize      = 40
	OffEntryAddr   = 0
	OffEntryLength = 8
	OffEntryOffset = 16
	OffEntrySlot   = 24
	OffEntryProt   = 28
	OffEntryKind   = 32
)

// InitData is what the stub's start-up program reads from descriptor 0 (UML's
// struct stub_init_data).
type InitData struct {
	_          structs.HostLayout
	Seccomp    uint64
	Start      uint64 // address of the stub code page
	CodeFD     uint64
	CodeOffset uint64
	DataFD     uint64
	DataOffset uint64
	Handler    uint64
	Restorer   uint64
}

// Offsets in InitData, for the start-up program.
const (
	OffInitStart      = 8
	OffInitCodeFD     = 16
	OffInitCodeOffset = 24
	OffInitDataFD     = 32
	OffInitDataOffset = 40
	OffInitHandler    = 48
	OffInitRestorer   = 56
	InitSize          = 64
)
