package stubabi

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestLayout(t *testing.T) {
	var d Data
	var e Entry
	var i InitData
	got := map[string]uintptr{
		"Data": unsafe.Sizeof(d), "Entry": unsafe.Sizeof(e), "InitData": unsafe.Sizeof(i),
		"Err": unsafe.Offsetof(d.Err), "Len": unsafe.Offsetof(d.Len), "Entries": unsafe.Offsetof(d.Entries),
		"RestartWait": unsafe.Offsetof(d.RestartWait), "Futex": unsafe.Offsetof(d.Futex),
		"Signal": unsafe.Offsetof(d.Signal), "SIOffset": unsafe.Offsetof(d.SIOffset),
		"MCtxOffset": unsafe.Offsetof(d.MCtxOffset), "Sync": unsafe.Offsetof(d.Sync),
		"FSBase": unsafe.Offsetof(d.FSBase), "GSBase": unsafe.Offsetof(d.GSBase),
		"Addr": unsafe.Offsetof(e.Addr), "Length": unsafe.Offsetof(e.Length), "Offset": unsafe.Offsetof(e.Offset),
		"Slot": unsafe.Offsetof(e.Slot), "Prot": unsafe.Offsetof(e.Prot), "Kind": unsafe.Offsetof(e.Kind),
		"Start": unsafe.Offsetof(i.Start), "CodeFD": unsafe.Offsetof(i.CodeFD), "CodeOffset": unsafe.Offsetof(i.CodeOffset),
		"DataFD": unsafe.Offsetof(i.DataFD), "DataOffset": unsafe.Offsetof(i.DataOffset),
		"Handler": unsafe.Offsetof(i.Handler), "Restorer": unsafe.Offsetof(i.Restorer),
	}
	want := map[string]uintptr{
		"Data": PageSize, "Entry": EntrySize, "InitData": InitSize,
		"Err": OffErr, "Len": OffLen, "Entries": OffEntries,
		"RestartWait": OffRestartWait, "Futex": OffFutex, "Signal": OffSignal,
		"SIOffset": OffSIOffset, "MCtxOffset": OffMCtxOffset, "Sync": OffSync,
		"FSBase": OffFSBase, "GSBase": OffGSBase,
		"Addr": OffEntryAddr, "Length": OffEntryLength, "Offset": OffEntryOffset,
		"Slot": OffEntrySlot, "Prot": OffEntryProt, "Kind": OffEntryKind,
		"Start": OffInitStart, "CodeFD": OffInitCodeFD, "CodeOffset": OffInitCodeOffset,
		"DataFD": OffInitDataFD, "DataOffset": OffInitDataOffset,
		"Handler": OffInitHandler, "Restorer": OffInitRestorer,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSealedLayout(t *testing.T) {
	var c Control
	var e SealedEntry
	var d SealedData
	var i SealedInit
	got := map[string]uintptr{
		"Control": unsafe.Sizeof(c), "SealedEntry": unsafe.Sizeof(e), "SealedData": unsafe.Sizeof(d), "SealedInit": unsafe.Sizeof(i),
		"Seq": unsafe.Offsetof(c.Seq), "Len": unsafe.Offsetof(c.Len), "Alone": unsafe.Offsetof(c.Alone), "Entries": unsafe.Offsetof(c.Entries),
		"end of the entries": unsafe.Offsetof(c.Entries) + MaxSealedEntries*unsafe.Sizeof(e),
		"Addr":               unsafe.Offsetof(e.Addr), "Length": unsafe.Offsetof(e.Length), "Offset": unsafe.Offsetof(e.Offset),
		"Prot": unsafe.Offsetof(e.Prot), "Kind": unsafe.Offsetof(e.Kind),
		"Futex": unsafe.Offsetof(d.Futex), "Signal": unsafe.Offsetof(d.Signal), "Report": unsafe.Offsetof(d.Kind), "Tick": unsafe.Offsetof(d.Tick),
		"FSBase": unsafe.Offsetof(d.FSBase), "GSBase": unsafe.Offsetof(d.GSBase), "SetBases": unsafe.Offsetof(d.SetBases),
		"NewFSBase": unsafe.Offsetof(d.NewFSBase), "NewGSBase": unsafe.Offsetof(d.NewGSBase), "Regs": unsafe.Offsetof(d.Regs),
		"ControlOffset": unsafe.Offsetof(i.ControlOffset), "DataOffset": unsafe.Offsetof(i.DataOffset),
	}
	want := map[string]uintptr{
		"Control": PageSize, "SealedEntry": SealedEntrySize, "SealedData": PageSize, "SealedInit": SealedInitSize,
		"Seq": OffControlSeq, "Len": OffControlLen, "Alone": OffControlAlone, "Entries": OffControlEntries,
		"end of the entries": PageSize,
		"Addr":               OffSealedAddr, "Length": OffSealedLength, "Offset": OffSealedOffset,
		"Prot": OffSealedProt, "Kind": OffSealedKind,
		"Futex": OffSealedFutex, "Signal": OffSealedSignal, "Report": OffSealedReport, "Tick": OffSealedTick,
		"FSBase": OffSealedFSBase, "GSBase": OffSealedGSBase, "SetBases": OffSealedSetBases,
		"NewFSBase": OffSealedNewFS, "NewGSBase": OffSealedNewGS, "Regs": OffSealedRegs,
		"ControlOffset": OffSealedInitControl, "DataOffset": OffSealedInitData,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if 1<<SealedEntryShift != SealedEntrySize {
		t.Errorf("an entry of %d bytes is not shifted by %d", SealedEntrySize, SealedEntryShift)
	}
}

func TestReportCopiesEveryField(t *testing.T) {
	d := Data{Err: -12, Len: 7, Signal: 31, SIOffset: 0x8001, MCtxOffset: 0xfffe}
	want := Report{Err: -12, Len: 7, Signal: 31, SIOffset: 0x8001, MCtxOffset: 0xfffe}
	if diff := cmp.Diff(want, d.Report()); diff != "" {
		t.Error(diff)
	}
}
