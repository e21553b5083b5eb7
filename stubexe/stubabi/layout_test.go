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

func TestReportCopiesEveryField(t *testing.T) {
	d := Data{Err: -12, Len: 7, Signal: 31, SIOffset: 0x8001, MCtxOffset: 0xfffe}
	want := Report{Err: -12, Len: 7, Signal: 31, SIOffset: 0x8001, MCtxOffset: 0xfffe}
	if diff := cmp.Diff(want, d.Report()); diff != "" {
		t.Error(diff)
	}
}
