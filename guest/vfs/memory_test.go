package vfs

import (
	"testing"

	"goskas/physmem"
)

// memory is what files lie in when nothing maps them.
type memory struct{ *physmem.Memory }

func (memory) Unmap(*Object, int64, int64, bool) {}

func newMemory(t testing.TB) Memory {
	t.Helper()
	mem, err := physmem.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	mem.SetPoison(true)
	return memory{mem}
}
