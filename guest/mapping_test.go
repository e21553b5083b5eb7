package guest

import (
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
	"goskas/mm"
	"goskas/physmem"
)

// mapFile maps a descriptor from its start on.
func (t *Task) mapFile(tb testing.TB, fd, pages, prot, flags uint64) uint64 {
	tb.Helper()
	return uint64(t.must(tb, unix.SYS_MMAP, 0, pages*arch.PageSize, prot, flags, fd, 0))
}

const readWrite = unix.PROT_READ | unix.PROT_WRITE

// mprotect once made a shared mapping of a file that is open for reading only
// writable.
func TestReadOnlySharedMappingStaysSo(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	tmpFile(t, task, []byte("content")) // /file
	name := task.anon(t, 1)
	task.poke(t, name, []byte("/file\x00"))
	fd := uint64(task.must(t, unix.SYS_OPEN, name, unix.O_RDONLY, 0))
	shared := task.mapFile(t, fd, 1, unix.PROT_READ, unix.MAP_SHARED)
	private := task.mapFile(t, fd, 1, unix.PROT_READ, unix.MAP_PRIVATE)
	if _, e := task.do(unix.SYS_MPROTECT, shared, arch.PageSize, readWrite); e != unix.EACCES {
		t.Errorf("mprotect of a shared mapping: %v", e)
	}
	if _, e := task.do(unix.SYS_MMAP, 0, arch.PageSize, readWrite, unix.MAP_SHARED, fd, 0); e != unix.EACCES {
		t.Errorf("mmap for writing: %v", e)
	}
	task.must(t, unix.SYS_MPROTECT, private, arch.PageSize, readWrite)
	task.poke(t, private, []byte("CON"))
	if got := string(task.peek(t, shared, 7)); got != "content" {
		t.Errorf("the file has %q", got)
	}
}

// mremap of nothing maps what is shared once more, and is refused for the rest.
func TestMremapFromNothing(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	fd := tmpFile(t, task, make([]byte, 4*arch.PageSize))
	at := task.mapFile(t, fd, 4, readWrite, unix.MAP_SHARED)
	again := uint64(task.must(t, unix.SYS_MREMAP, at+arch.PageSize, 0, 2*arch.PageSize, unix.MREMAP_MAYMOVE))
	task.poke(t, at+2*arch.PageSize, []byte{5})
	if got := task.peek(t, again+arch.PageSize, 1); got[0] != 5 {
		t.Errorf("the second mapping shows %d", got[0])
	}
	for _, c := range []struct {
		at, flags uint64
	}{{at, 0}, {task.anon(t, 1), unix.MREMAP_MAYMOVE}} {
		if _, e := task.do(unix.SYS_MREMAP, c.at, 0, arch.PageSize, c.flags); e != unix.EINVAL {
			t.Errorf("mremap of nothing at %#x, flags %d: %v", c.at, c.flags, e)
		}
	}
	// A move that leaves its place behind: empty, and still there.
	mem := task.anon(t, 2)
	task.poke(t, mem, []byte{7})
	to := uint64(task.must(t, unix.SYS_MREMAP, mem, 2*arch.PageSize, 2*arch.PageSize, unix.MREMAP_MAYMOVE|unix.MREMAP_DONTUNMAP))
	if a, b := task.peek(t, mem, 1)[0], task.peek(t, to, 1)[0]; a != 0 || b != 7 {
		t.Errorf("after the move %d and %d, want 0 and 7", a, b)
	}
}

// proofSpace counts how often its stub has to prove that it has no mapping left.
type proofSpace struct {
	bareMM
	proofs int
}

func (p *proofSpace) Revoke() error { p.proofs++; return nil }

// Who sees a write seal relies on the content: no mapping may be left, also none
// that a stub has only been told to give up.
func TestSealsKeepOutWriters(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	task.space.unref()
	proof := &proofSpace{bareMM: bareMM{mm.New(k.mem, bareEnd)}}
	task.space = k.spaceOver(proof)
	name := task.anon(t, 1)
	task.poke(t, name, []byte("name\x00"))
	seal := func(fd uint64, seals uint64, want unix.Errno) {
		t.Helper()
		if _, e := task.do(unix.SYS_FCNTL, fd, unix.F_ADD_SEALS, seals); e != want {
			t.Errorf("seals %#x: %v, want %v", seals, e, want)
		}
	}
	plain := uint64(task.must(t, unix.SYS_MEMFD_CREATE, name, 0))
	if v := task.must(t, unix.SYS_FCNTL, plain, unix.F_GET_SEALS); v != unix.F_SEAL_SEAL {
		t.Errorf("a file that cannot be sealed has seals %#x", v)
	}
	seal(plain, unix.F_SEAL_GROW, unix.EPERM)

	fd := uint64(task.must(t, unix.SYS_MEMFD_CREATE, name, unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC))
	task.must(t, unix.SYS_FTRUNCATE, fd, arch.PageSize)
	at := task.mapFile(t, fd, 1, readWrite, unix.MAP_SHARED)
	task.poke(t, at, []byte("sealed"))
	seal(fd, unix.F_SEAL_WRITE, unix.EBUSY)
	task.must(t, unix.SYS_MUNMAP, at, arch.PageSize)
	if proof.proofs != 0 {
		t.Error("proofs before there was a seal")
	}
	seal(fd, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW, 0)
	if proof.proofs != 1 {
		t.Errorf("%d proofs that nothing maps the object any more", proof.proofs)
	}
	for _, c := range []struct {
		what string
		nr   uint64
		a    []uint64
	}{
		{"write", unix.SYS_PWRITE64, []uint64{fd, name, 1, 0}},
		{"grow", unix.SYS_FTRUNCATE, []uint64{fd, 2 * arch.PageSize}},
		{"shrink", unix.SYS_FTRUNCATE, []uint64{fd, 1}},
		{"map", unix.SYS_MMAP, []uint64{0, arch.PageSize, readWrite, unix.MAP_SHARED, fd, 0}},
		{"punch", unix.SYS_FALLOCATE, []uint64{fd, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 0, arch.PageSize}},
	} {
		if _, e := task.do(c.nr, c.a...); e != unix.EPERM {
			t.Errorf("%s: %v", c.what, e)
		}
	}
	at = task.mapFile(t, fd, 1, unix.PROT_READ, unix.MAP_SHARED)
	if got := string(task.peek(t, at, 6)); got != "sealed" {
		t.Errorf("content %q", got)
	}
	if _, e := task.do(unix.SYS_MPROTECT, at, arch.PageSize, readWrite); e != unix.EACCES {
		t.Errorf("mprotect: %v", e)
	}
	seal(fd, unix.F_SEAL_SEAL, 0)
	seal(fd, unix.F_SEAL_FUTURE_WRITE, unix.EPERM)
}

// A page of a file that was cut short is a bus error for whoever has it mapped,
// and its frame is not used again while a stub may have it.
func TestTruncatedPageIsHeldForTheStub(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	task.space.table().HoldRevoked()
	fd := tmpFile(t, task, make([]byte, 2*arch.PageSize))
	at := task.mapFile(t, fd, 2, readWrite, unix.MAP_SHARED)
	task.poke(t, at+arch.PageSize, []byte{1})
	task.space.table().SyncAll(hostMapper{}) // the stub has the pages now
	before := k.mem.Stats().InUse
	task.must(t, unix.SYS_FTRUNCATE, fd, arch.PageSize)
	if held, now := task.space.table().Held(), k.mem.Stats().InUse; held != 1 || now != before {
		t.Errorf("%d frames held, %d in use, want 1, %d", held, now, before)
	}
	if sig, code, _ := task.space.fault(arch.Fault{Page: true, Addr: arch.Addr(at + arch.PageSize), Access: arch.Read}); sig != int(unix.SIGBUS) || code != abi.BUS_ADRERR {
		t.Errorf("signal %d, code %d", sig, code)
	}
	task.space.table().SyncAll(hostMapper{})
	task.space.table().Proved()
	if now := k.mem.Stats().InUse; now != before-1 {
		t.Errorf("%d frames in use after the proof, want %d", now, before-1)
	}
}

// hostMapper takes every call for done.
type hostMapper struct{}

func (hostMapper) Map(arch.Addr, uint64, arch.Access, physmem.PFN) error { return nil }
func (hostMapper) Unmap(arch.Addr, uint64) error                         { return nil }

// A stack grows up to a gap below it, unless what is there cannot be accessed.
func TestStackKeepsItsGap(t *testing.T) {
	const top = 0x4000_0000
	for _, c := range []struct {
		name  string
		prot  uint64
		apart uint64 // pages between the other mapping and the fault
		want  unix.Errno
	}{
		{"far away", readWrite, 256, 0},
		{"too close", readWrite, 255, unix.EFAULT},
		{"a guard page", unix.PROT_NONE, 1, 0},
		{"on the guard page", unix.PROT_NONE, 0, unix.EFAULT},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, _ := newBareKernel(t, 1<<20)
			task := newBareTask(t, k)
			task.must(t, unix.SYS_MMAP, top, arch.PageSize, readWrite,
				unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_GROWSDOWN|unix.MAP_FIXED, ^uint64(0), 0)
			task.must(t, unix.SYS_MMAP, top-300*arch.PageSize, arch.PageSize, c.prot,
				unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uint64(0), 0)
			at := arch.Addr(top - 300*arch.PageSize + arch.PageSize + c.apart*arch.PageSize)
			if c.apart == 0 {
				at -= arch.PageSize
			}
			if e := task.copyOut(at, []byte{1}); e != c.want {
				t.Errorf("write %d pages above: %v, want %v", c.apart, e, c.want)
			}
		})
	}
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	task.must(t, unix.SYS_MMAP, top, arch.PageSize, readWrite,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_GROWSDOWN|unix.MAP_FIXED, ^uint64(0), 0)
	if v := task.must(t, unix.SYS_MMAP, top-8*arch.PageSize, arch.PageSize, readWrite,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0); v == top-8*arch.PageSize {
		t.Error("a mapping was put right below a stack")
	}
}

// A fork leaves out and empties what madvise says.
func TestMadviseForForks(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task, child := newBareTask(t, k), newBareTask(t, k)
	at := task.anon(t, 4)
	for i := range uint64(4) {
		task.poke(t, at+i*arch.PageSize, []byte{9})
	}
	task.must(t, unix.SYS_MADVISE, at+arch.PageSize, arch.PageSize, unix.MADV_DONTFORK)
	task.must(t, unix.SYS_MADVISE, at+2*arch.PageSize, arch.PageSize, unix.MADV_WIPEONFORK)
	if err := task.space.copyTo(child.space); err != nil {
		t.Fatal(err)
	}
	for i, want := range []byte{9, 0, 0, 9} {
		if e := child.copyIn(arch.Addr(at)+arch.Addr(i)*arch.PageSize, make([]byte, 1)); (e != 0) != (i == 1) {
			t.Errorf("page %d of the child: %v", i, e)
		} else if e == 0 && child.peek(t, at+uint64(i)*arch.PageSize, 1)[0] != want {
			t.Errorf("page %d of the child is not %d", i, want)
		}
	}
	task.must(t, unix.SYS_MADVISE, at, 4*arch.PageSize, unix.MADV_DOFORK)
	task.must(t, unix.SYS_MADVISE, at, 4*arch.PageSize, unix.MADV_KEEPONFORK)
	if n := task.space.vmas.tree.Len(); n != 1 {
		t.Errorf("%d mappings, want one again", n)
	}
}
