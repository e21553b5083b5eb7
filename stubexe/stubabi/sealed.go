package stubabi

import (
	"structs"
	"sync/atomic"
)

// The sealed guard's stub shares two kinds of page with the monitor, and none
// of them is guest memory: Control, which the stub can only read, and
// SealedData with the signal stack behind it, which guest code can write as it
// likes.

// MaxSealedEntries is the capacity of a sealed batch: what fits behind the
// control page's head.
const MaxSealedEntries = (PageSize - OffControlEntries) / SealedEntrySize

// MaxSealedLength is the longest range of one entry, which the filter enforces.
// Guest space ends farther below the stub's pages than that.
const MaxSealedLength = 1 << 30

// SealedMapFlags are the flags of every mmap of a sealed stub: MAP_SHARED,
// MAP_FIXED and MAP_POPULATE (asm-generic/mman-common.h). What the monitor maps
// is about to be used: with its pages in place the guest takes no second fault,
// in the host kernel, for what it has just faulted on. UML does not populate.
const SealedMapFlags = 0x01 | 0x10 | 0x8000

// SealedEntry is one call that the stub may make. Writer: the monitor.
type SealedEntry struct {
	_      structs.HostLayout
	Addr   uint64
	Length uint64
	Offset uint64 // into guest memory; mmap only
	Prot   uint32 // PROT_*; mmap only
	Kind   Kind
}

// Control is the page that says what the stub may map. The monitor writes it,
// through a mapping of its own; the stub has it read-only, from a descriptor
// that was opened read-only and is closed.
//
// Guest code may make any call that is listed here, at any time and in any
// order: a batch is a final state, and nothing stands here that the page table
// does not grant.
type Control struct {
	_ structs.HostLayout
	// Seq is odd while the page is being written, and changes with each
	// batch.
	Seq atomic.Uint32
	// Len is the number of entries.
	Len uint32
	// Alone asks the stub to report again behind the batch instead of
	// returning to the guest.
	Alone   uint32
	_       [OffControlEntries - 12]byte
	Entries [MaxSealedEntries]SealedEntry
}

// Publish replaces the batch. The stub's check sees the old batch, the new one,
// or an odd or changed number, which is its death.
func (c *Control) Publish(batch []Entry, alone bool) {
	c.Seq.Add(1)
	for i, e := range batch {
		c.Entries[i] = SealedEntry{Addr: e.Addr, Length: e.Length, Offset: e.Offset, Prot: uint32(e.Prot), Kind: e.Kind}
	}
	var a uint32
	if alone {
		a = 1
	}
	atomic.StoreUint32(&c.Alone, a)
	atomic.StoreUint32(&c.Len, uint32(len(batch)))
	c.Seq.Add(1)
}

// Retract leaves the stub nothing to map.
func (c *Control) Retract() {
	if atomic.LoadUint32(&c.Len) == 0 && atomic.LoadUint32(&c.Alone) == 0 {
		return
	}
	c.Publish(nil, false)
}

// What a sealed stub reports.
const (
	// ReportFresh: a signal has stopped guest code; the signal frame at its
	// fixed place holds the registers.
	ReportFresh = 1
	// ReportSame: a tick came on the way to the guest; the registers are
	// those that the monitor wrote.
	ReportSame = 2
	// ReportRan: a batch of its own is done.
	ReportRan = 3
)

// NumSealedRegs is the number of general registers in SealedData.Regs: all but
// the stack pointer, in the order of a signal frame.
const NumSealedRegs = 15

// SealedData is the page of the handshake. Everything here can be written by
// guest code at any time; nothing here can do it any good, since none of it
// decides what is mapped.
type SealedData struct {
	_ structs.HostLayout
	// Futex is the handshake word. Both, atomic.
	Futex Word
	// Signal and Kind are the report. Stub, before it sets Futex.
	Signal int32
	Kind   uint32
	// Tick is set by the stub when a tick has come while its own code ran,
	// and cleared when it reports that.
	Tick uint32
	// FSBase and GSBase are the guest's bases. Stub, with ReportFresh.
	FSBase uint64
	GSBase uint64
	// SetBases asks for NewFSBase and NewGSBase to be loaded. Monitor, while
	// the stub waits, as is all below.
	SetBases  uint32
	_         uint32
	NewFSBase uint64
	NewGSBase uint64
	_         uint64
	// Regs are the general registers to return to the guest with. The rest
	// is in the frame for iretq, on the signal stack.
	Regs [NumSealedRegs]uint64
	_    [PageSize - 0x40 - 8*NumSealedRegs]byte
}

// SealedReport is one consistent copy of what a sealed stub says.
type SealedReport struct {
	Signal         int32
	Kind           uint32
	FSBase, GSBase uint64
}

// Report copies the stub's words out of the shared page, each exactly once.
func (d *SealedData) Report() SealedReport {
	return SealedReport{
		Signal: atomic.LoadInt32(&d.Signal),
		Kind:   atomic.LoadUint32(&d.Kind),
		FSBase: atomic.LoadUint64(&d.FSBase),
		GSBase: atomic.LoadUint64(&d.GSBase),
	}
}

// Offsets of the fields that the stub's machine code uses; a test holds them
// against the structs.
const (
	OffControlSeq     = 0
	OffControlLen     = 4
	OffControlAlone   = 8
	OffControlEntries = 64

	SealedEntrySize   = 32
	SealedEntryShift  = 5
	OffSealedAddr     = 0
	OffSealedLength   = 8
	OffSealedOffset   = 16
	OffSealedProt     = 24
	OffSealedKind     = 28
	OffSealedFutex    = 0x00
	OffSealedSignal   = 0x04
	OffSealedReport   = 0x08
	OffSealedTick     = 0x0c
	OffSealedFSBase   = 0x10
	OffSealedGSBase   = 0x18
	OffSealedSetBases = 0x20
	OffSealedNewFS    = 0x28
	OffSealedNewGS    = 0x30
	OffSealedRegs     = 0x40
)

// TemplateCloneFlags have the template make a stub whose parent is the monitor:
// CLONE_PARENT and SIGCHLD (linux/sched.h, asm/signal.h).
const TemplateCloneFlags = 0x8000 | 17

// SealedInit is what the template's start-up program reads from descriptor 0;
// all else it knows from the day it was assembled.
type SealedInit struct {
	_             structs.HostLayout
	ControlOffset uint64
	DataOffset    uint64
}

// Offsets in SealedInit, and the descriptors that the template is started with:
// guest memory, the stub pages read-only, the stub pages writable. It keeps the
// last two, for the stubs to map theirs from, and guest memory as SealedMemFD. A
// stub has nothing but that.
const (
	OffSealedInitControl = 0
	OffSealedInitData    = 8
	SealedInitSize       = 16

	SealedStartMemFD = 3
	SealedReadFD     = 4
	SealedWriteFD    = 5
	SealedMemFD      = 0
)
