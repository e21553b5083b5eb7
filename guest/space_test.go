package guest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// modelPage is what a guest sees of one page: its rights, and what its first
// byte is. Shared pages share their cell.
type modelPage struct {
	prot   uint64
	cell   *byte
	shared bool
}

type spaceModel struct {
	*testing.T
	rnd   *rand.Rand
	task  *Task
	base  uint64
	pages map[uint64]modelPage // by address
	log   []string
}

const arenaPages = 48

func (m *spaceModel) bad(format string, args ...any) {
	m.Helper()
	for _, l := range m.log {
		m.Log(l)
	}
	m.Fatalf(format, args...)
}

func (m *spaceModel) do(nr uint64, a ...uint64) (int64, unix.Errno) {
	v, e := m.task.do(nr, a...)
	m.log = append(m.log, fmt.Sprintf("%s%#x = %#x, %v", table[nr].name, a, v, e))
	m.log = m.log[max(0, len(m.log)-40):]
	return v, e
}

func (m *spaceModel) span() (start, length uint64) {
	i := uint64(m.rnd.IntN(arenaPages))
	return m.base + i*arch.PageSize, min(1+uint64(m.rnd.IntN(8)), arenaPages-i) * arch.PageSize
}

func pagesOf(start, length uint64) (list []uint64) {
	for a := start; a < start+length; a += arch.PageSize {
		list = append(list, a)
	}
	return list
}

func (m *spaceModel) step() {
	start, length := m.span()
	prot := []uint64{0, unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC}[m.rnd.IntN(4)]
	switch m.rnd.IntN(10) {
	case 0, 1:
		flags := uint64(unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_PRIVATE)
		shared := m.rnd.IntN(3) == 0
		if shared {
			flags = unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_SHARED
		}
		if v, e := m.do(unix.SYS_MMAP, start, length, prot, flags, ^uint64(0), 0); e != 0 || uint64(v) != start {
			m.bad("mmap: %#x, %v", v, e)
		}
		for _, a := range pagesOf(start, length) {
			m.pages[a] = modelPage{prot, new(byte), shared}
		}
	case 2:
		if _, e := m.do(unix.SYS_MUNMAP, start, length); e != 0 {
			m.bad("munmap: %v", e)
		}
		for _, a := range pagesOf(start, length) {
			delete(m.pages, a)
		}
	case 3:
		_, e := m.do(unix.SYS_MPROTECT, start, length, prot)
		want := unix.Errno(0)
		for _, a := range pagesOf(start, length) {
			p, ok := m.pages[a]
			if !ok {
				want = unix.ENOMEM
				break
			}
			p.prot = prot
			m.pages[a] = p
		}
		if e != want {
			m.bad("mprotect: %v, want %v", e, want)
		}
	case 4:
		_, e := m.do(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED)
		want := unix.Errno(0)
		for _, a := range pagesOf(start, length) {
			if p, ok := m.pages[a]; !ok {
				want = unix.ENOMEM
			} else if !p.shared { // shared memory keeps what is in it
				p.cell = new(byte)
				m.pages[a] = p
			}
		}
		if e != want {
			m.bad("madvise: %v, want %v", e, want)
		}
	case 5:
		m.mremap(start, length)
	default:
		m.access()
	}
}

// mremap moves one page to a fixed place: ranges of one mapping are what it
// takes, and a page always is.
func (m *spaceModel) mremap(from, _ uint64) {
	to, _ := m.span()
	p, ok := m.pages[from]
	v, e := m.do(unix.SYS_MREMAP, from, arch.PageSize, arch.PageSize, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, to)
	switch {
	case from == to:
		if e != unix.EINVAL {
			m.bad("mremap to itself: %v", e)
		}
	case !ok:
		if e != unix.EFAULT {
			m.bad("mremap of a hole: %v", e)
		}
	default:
		if e != 0 || uint64(v) != to {
			m.bad("mremap: %#x, %v", v, e)
		}
		delete(m.pages, from)
		m.pages[to] = p
	}
}

// access reads or writes a byte as guest code would: through a fault.
func (m *spaceModel) access() {
	at, _ := m.span()
	p, ok := m.pages[at]
	write := m.rnd.IntN(2) == 0
	acc, need := arch.Read, uint64(unix.PROT_READ)
	if write {
		acc, need = arch.Write, unix.PROT_WRITE
	}
	sig, code, _ := m.task.space.fault(arch.Fault{Addr: arch.Addr(at), Access: acc, Page: true})
	m.log = append(m.log, fmt.Sprintf("%v %#x: signal %d", acc, at, sig))
	switch {
	case !ok:
		if sig != int(unix.SIGSEGV) || code != abi.SEGV_MAPERR {
			m.bad("access to a hole: signal %d, code %d", sig, code)
		}
	case p.prot&need == 0:
		if sig != int(unix.SIGSEGV) || code != abi.SEGV_ACCERR {
			m.bad("access without the right: signal %d, code %d", sig, code)
		}
	case sig != 0:
		m.bad("access: signal %d", sig)
	case write:
		*p.cell = byte(m.rnd.Uint32())
		e := m.task.space.table().Lookup(arch.Addr(at))
		if !e.Present() || e.Host()&arch.Write == 0 {
			m.bad("after the fault the host may not write: %v", e)
		}
		m.task.k.mem.Bytes(e.PFN())[0] = *p.cell
	default:
		e := m.task.space.table().Lookup(arch.Addr(at))
		if !e.Present() || e.Host()&arch.Read == 0 {
			m.bad("after the fault the host may not read: %v", e)
		}
		if got := m.task.k.mem.Bytes(e.PFN())[0]; got != *p.cell {
			m.bad("byte at %#x is %#x, want %#x", at, got, *p.cell)
		}
	}
}

// check compares the VMAs with the model, and the table with the VMAs.
func (m *spaceModel) check() {
	s := m.task.space
	seen := 0
	last := arch.Addr(0)
	s.vmas.tree.Scan(func(start arch.Addr, v *vma) bool {
		if v.start != start || v.start >= v.end || v.start < last || v.start.PageOffset() != 0 || v.end.PageOffset() != 0 {
			m.bad("VMA %#x-%#x at %#x after %#x", v.start, v.end, start, last)
		}
		last = v.end
		for _, a := range pagesOf(uint64(v.start), uint64(v.end-v.start)) {
			p, ok := m.pages[a]
			if !ok || uint64(v.acc) != p.prot || v.shared != p.shared {
				m.bad("page %#x: VMA %v, want %+v (%v)", a, v.acc, p, ok)
			}
			seen++
		}
		return true
	})
	if seen != len(m.pages) {
		m.bad("VMAs have %d pages, want %d", seen, len(m.pages))
	}
}

// Random mapping calls and accesses, in a process and its forked children,
// against a plain model of every page.
func TestSpaceAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		k, _ := newBareKernel(t, 8<<20)
		parent := newBareTask(t, k)
		m := &spaceModel{T: t, rnd: rand.New(rand.NewPCG(seed, 4)), task: parent, base: 0x10_0000_0000 - 20*arch.PageSize, pages: map[uint64]modelPage{}}
		models := []*spaceModel{m}
		for i := range 3000 {
			m := models[m.rnd.IntN(len(models))]
			m.step()
			if i%8 == 0 {
				m.check()
			}
			if i%600 == 599 && len(models) < 4 {
				child := &spaceModel{T: t, rnd: m.rnd, task: newBareTask(t, k), base: m.base, pages: map[uint64]modelPage{}}
				if err := m.task.space.copyTo(child.task.space); err != nil {
					t.Fatal(err)
				}
				for a, p := range m.pages {
					if !p.shared {
						c := *p.cell
						p.cell = &c
					}
					child.pages[a] = p
				}
				models = append(models, child)
			}
		}
		// One process ends before the others.
		k.exit(models[len(models)-1].task, 0)
		for _, m := range models[:len(models)-1] {
			for range 100 {
				m.access()
			}
			m.check()
		}
	}
}

// MADV_DONTNEED once stopped at the first hole, after the mapping behind it.
func TestMadviseGoesOnBehindAHole(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 6)
	task.poke(t, at, bytes.Repeat([]byte{7}, 6*arch.PageSize))
	for _, hole := range []uint64{1, 3} {
		task.must(t, unix.SYS_MUNMAP, at+hole*arch.PageSize, arch.PageSize)
	}
	if _, e := task.do(unix.SYS_MADVISE, at, 6*arch.PageSize, unix.MADV_DONTNEED); e != unix.ENOMEM {
		t.Errorf("madvise over holes: %v", e)
	}
	for _, page := range []uint64{0, 2, 4, 5} {
		if b := task.peek(t, at+page*arch.PageSize, 1); b[0] != 0 {
			t.Errorf("page %d is still there", page)
		}
	}
}

// A mapping that grows down once showed other parts of its file or object after
// it had grown.
func TestGrowingDownKeepsTheContent(t *testing.T) {
	k, _ := newBareKernel(t, 8<<20)
	task := newBareTask(t, k)
	if _, e := task.do(unix.SYS_MMAP, 0, arch.PageSize, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_GROWSDOWN, ^uint64(0), 0); e != unix.EINVAL {
		t.Errorf("shared memory that grows down: %v", e)
	}
	content := make([]byte, 8*arch.PageSize)
	for i := range content {
		content[i] = byte(i / arch.PageSize)
	}
	fd := tmpFile(t, task, content)
	const top = 0x2000_0000
	at := uint64(task.must(t, unix.SYS_MMAP, top-2*arch.PageSize, 2*arch.PageSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_GROWSDOWN|unix.MAP_FIXED, fd, 4*arch.PageSize))
	if got := task.peek(t, at-1, 1); got[0] != 3 {
		t.Errorf("the page below shows page %d of the file, want 3", got[0])
	}
	for i, want := range []byte{4, 5} {
		if got := task.peek(t, at+uint64(i)*arch.PageSize, 1); got[0] != want {
			t.Errorf("page %d shows page %d of the file, want %d", i, got[0], want)
		}
	}
	// The file has no more than four pages below.
	if e := task.copyIn(arch.Addr(at-6*arch.PageSize), make([]byte, 1)); e != unix.EFAULT {
		t.Errorf("growing past the start of the file: %v", e)
	}
}

// Growing a mapping of shared memory once gave zeros behind the memory's end.
func TestGrownSharedMappingEndsWithItsMemory(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := uint64(task.must(t, unix.SYS_MMAP, 0, 2*arch.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uint64(0), 0))
	task.poke(t, at+arch.PageSize, []byte{7})
	to := uint64(task.must(t, unix.SYS_MREMAP, at, 2*arch.PageSize, 4*arch.PageSize, unix.MREMAP_MAYMOVE))
	if got := task.peek(t, to+arch.PageSize, 1); got[0] != 7 {
		t.Errorf("the page that was there has %d", got[0])
	}
	for _, acc := range []arch.Access{arch.Read, arch.Write} {
		sig, code, _ := task.space.fault(arch.Fault{Page: true, Addr: arch.Addr(to + 2*arch.PageSize), Access: acc})
		if sig != int(unix.SIGBUS) || code != abi.BUS_ADRERR {
			t.Errorf("%v behind the end: signal %d, code %d", acc, sig, code)
		}
	}
	if e := task.copyOut(arch.Addr(to+3*arch.PageSize), []byte{1}); e != unix.EFAULT {
		t.Errorf("the kernel behind the end: %v", e)
	}
}

// mremap once looked for the mapping before it looked whether its place and the
// target overlap.
func TestMremapRefusesOverlapFirst(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	const at = 0x1000_0000 // nothing is there
	move := uint64(unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED)
	for _, c := range []struct {
		flags, to uint64
		want      unix.Errno
	}{
		{move, at - arch.PageSize, unix.EINVAL},
		{move, at, unix.EINVAL},
		{move, at + 1, unix.EINVAL},
		{unix.MREMAP_FIXED, at + 0x100000, unix.EINVAL},
		{move, at + 0x100000, unix.EFAULT},
	} {
		if _, e := task.do(unix.SYS_MREMAP, at, arch.PageSize, 2*arch.PageSize, c.flags, c.to); e != c.want {
			t.Errorf("mremap to %#x, flags %d: %v, want %v", c.to, c.flags, e, c.want)
		}
	}
}

// Fresh memory that is only read once took a frame for each page. It is one page
// of zeros, which nobody's write reaches.
func TestReadingFreshMemoryTakesOnePage(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task, other := newBareTask(t, k), newBareTask(t, k)
	at, there := task.anon(t, 9), other.anon(t, 1)
	other.peek(t, there, 1)
	before := k.mem.Stats().InUse
	zeros := make([]byte, 8*arch.PageSize)
	if !bytes.Equal(task.peek(t, at, len(zeros)), zeros) {
		t.Error("fresh memory is not zero")
	}
	if n := k.mem.Stats().InUse - before; n != 0 {
		t.Errorf("%d frames for memory that was only read", n)
	}
	if p := task.space.table().Lookup(arch.Addr(at)); p.Host() != arch.Read {
		t.Errorf("the host may %v", p.Host())
	}
	task.poke(t, at, []byte{1})
	if sig, _, _ := task.space.fault(arch.Fault{Page: true, Addr: arch.Addr(at + arch.PageSize), Access: arch.Write}); sig != 0 {
		t.Errorf("write: signal %d", sig)
	}
	if n := k.mem.Stats().InUse - before; n != 2 {
		t.Errorf("%d frames for two pages that were written", n)
	}
	if !bytes.Equal(other.peek(t, there, arch.PageSize), zeros[:arch.PageSize]) ||
		!bytes.Equal(task.peek(t, at+2*arch.PageSize, arch.PageSize), zeros[:arch.PageSize]) {
		t.Error("a write has reached other pages")
	}
	k.dropCaches() // as when memory is short
	task.peek(t, at+8*arch.PageSize, 1)
}

// Mappings cost the monitor memory, and a guest could once have any number.
func TestMappingsAreLimited(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := uint64(task.must(t, unix.SYS_MMAP, 0, 1<<40, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))
	var e unix.Errno
	for i := uint64(0); i < 2*maxVMAs && e == 0; i++ {
		_, e = task.do(unix.SYS_MPROTECT, at+2*i*arch.PageSize, arch.PageSize, unix.PROT_READ)
	}
	if n := task.space.vmas.tree.Len(); e != unix.ENOMEM || n > maxVMAs+2 {
		t.Errorf("%d mappings, %v", n, e)
	}
	if _, e := task.do(unix.SYS_MMAP, 0, arch.PageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0); e != unix.ENOMEM {
		t.Errorf("one more mapping: %v", e)
	}
	// Taking all away works, also at the limit.
	task.must(t, unix.SYS_MUNMAP, at, 1<<40)
	task.anon(t, 1)
}
