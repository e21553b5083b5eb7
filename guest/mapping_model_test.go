package guest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// mappingPair is a file in memory with mappings in two processes of a guest, and
// a memfd of the host with mappings here: the same calls and accesses must have
// the same results.
type mappingPair struct {
	*testing.T
	rnd   *rand.Rand
	tasks [2]*Task
	fds   [2][2]uint64 // of each task, for reading and for both
	host  [2]int
	maps  []*mappedPair
	log   []string
}

type mappedPair struct {
	task  *Task
	guest uint64
	host  []byte
	prot  []int // of each page
}

const mappingFilePages = 12

func (p *mappingPair) bad(format string, args ...any) {
	p.Helper()
	for _, l := range p.log {
		p.Log(l)
	}
	p.Fatalf(format, args...)
}

func (p *mappingPair) same(what string, guest, host unix.Errno) bool {
	p.Helper()
	p.log = append(p.log, fmt.Sprintf("%s: %v", what, host))
	p.log = p.log[max(0, len(p.log)-50):]
	if guest != host {
		p.bad("%s: the guest says %v, the host %v", what, guest, host)
	}
	return host == 0
}

func (p *mappingPair) size() int64 { return p.rnd.Int64N(mappingFilePages * arch.PageSize) }

func (p *mappingPair) mmap() {
	i, w := p.rnd.IntN(2), p.rnd.IntN(2)
	prot := []int{unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_NONE}[p.rnd.IntN(3)]
	flags := []int{unix.MAP_SHARED, unix.MAP_PRIVATE}[p.rnd.IntN(2)]
	pages, first := 1+p.rnd.IntN(5), p.rnd.IntN(mappingFilePages)
	v, g := p.tasks[i].do(unix.SYS_MMAP, 0, uint64(pages*arch.PageSize), uint64(prot), uint64(flags), p.fds[i][w], uint64(first*arch.PageSize))
	b, err := unix.Mmap(p.host[w], int64(first*arch.PageSize), pages*arch.PageSize, prot, flags)
	if !p.same(fmt.Sprintf("mapping %d: mmap %d pages from %d, rights %d, flags %d, writable %d", len(p.maps), pages, first, prot, flags, w), g, asErrno(err)) {
		return
	}
	m := &mappedPair{task: p.tasks[i], guest: uint64(v), host: b}
	for range pages {
		m.prot = append(m.prot, prot)
	}
	p.maps = append(p.maps, m)
}

// hostAccess reads, or writes, a byte of this process, and reports whether that
// could be done.
func hostAccess(b *byte, write bool, v *byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	if write {
		*b = *v
	} else {
		*v = *b
	}
	return true
}

func (p *mappingPair) access(m *mappedPair) {
	off := p.rnd.IntN(len(m.host))
	page := off / arch.PageSize
	at, write := arch.Addr(m.guest+uint64(off)), p.rnd.IntN(2) == 0
	v := byte(p.rnd.Uint32())
	there := hostAccess(&m.host[off], write, &v)
	acc, need := arch.Read, unix.PROT_READ
	if write {
		acc, need = arch.Write, unix.PROT_WRITE
	}
	p.log = append(p.log, fmt.Sprintf("%v at %#x of a mapping of %d pages at %#x: %v", acc, off, len(m.prot), m.guest, there))
	sig, _, err := m.task.space.fault(arch.Fault{Page: true, Addr: at, Access: acc})
	want := 0
	switch {
	case m.prot[page]&need == 0:
		want = int(unix.SIGSEGV)
	case !there:
		want = int(unix.SIGBUS)
	}
	if sig != want || there != (want == 0) {
		p.bad("signal %d (%v), want %d; on the host it works: %v", sig, err, want, there)
	}
	if sig != 0 {
		return
	}
	e := m.task.space.table().Lookup(at.PageDown())
	if acc&^e.Host() != 0 {
		p.bad("the host may %v", e.Host())
	}
	b := &m.task.k.mem.Bytes(e.PFN())[at.PageOffset()]
	if write {
		*b = v
	} else if *b != v {
		p.bad("byte %#x, want %#x", *b, v)
	}
}

func (p *mappingPair) io() {
	off, n := p.size(), 1+p.rnd.IntN(3*arch.PageSize)
	i := p.rnd.IntN(2)
	t, buf := p.tasks[i], p.tasks[i].anon(p.T, 4)
	defer t.must(p.T, unix.SYS_MUNMAP, buf, 4*arch.PageSize)
	data := bytes.Repeat([]byte{byte(p.rnd.Uint32())}, n)
	if p.rnd.IntN(2) == 0 {
		t.poke(p.T, buf, data)
		v, g := t.do(unix.SYS_PWRITE64, p.fds[i][1], buf, uint64(n), uint64(off))
		m, err := unix.Pwrite(p.host[1], data, off)
		if p.same(fmt.Sprintf("write %d at %#x", n, off), g, asErrno(err)) && int(v) != m {
			p.bad("%d bytes written, want %d", v, m)
		}
		return
	}
	v, g := t.do(unix.SYS_PREAD64, p.fds[i][0], buf, uint64(n), uint64(off))
	m, err := unix.Pread(p.host[0], data, off)
	if !p.same(fmt.Sprintf("read %d at %#x", n, off), g, asErrno(err)) {
		return
	}
	if int(v) != m {
		p.bad("%d bytes read, want %d", v, m)
	}
	for j, b := range t.peek(p.T, buf, m) {
		if b != data[j] {
			p.bad("byte %d of what was read is %#x, want %#x", j, b, data[j])
		}
	}
}

func (p *mappingPair) resize() {
	size := p.size()
	if p.rnd.IntN(2) == 0 {
		_, g := p.tasks[0].do(unix.SYS_FTRUNCATE, p.fds[0][1], uint64(size))
		p.same(fmt.Sprintf("truncate to %#x", size), g, asErrno(unix.Ftruncate(p.host[1], size)))
		return
	}
	mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE}[p.rnd.IntN(5)]
	n := p.rnd.Int64N(4 * arch.PageSize)
	_, g := p.tasks[0].do(unix.SYS_FALLOCATE, p.fds[0][1], uint64(mode), uint64(size), uint64(n))
	p.same(fmt.Sprintf("fallocate mode %d, %#x at %#x", mode, n, size), g, asErrno(unix.Fallocate(p.host[1], mode, size, n)))
}

func (p *mappingPair) step() {
	if op := p.rnd.IntN(16); op < 2 && len(p.maps) < 12 {
		p.mmap()
	} else if op < 5 {
		p.io()
	} else if op == 5 {
		p.resize()
	}
	if len(p.maps) == 0 {
		return
	}
	i := p.rnd.IntN(len(p.maps))
	m := p.maps[i]
	first := p.rnd.IntN(len(m.prot))
	n := 1 + p.rnd.IntN(len(m.prot)-first)
	at, length := m.guest+uint64(first*arch.PageSize), uint64(n*arch.PageSize)
	part := m.host[first*arch.PageSize : (first+n)*arch.PageSize]
	switch op := p.rnd.IntN(24); op {
	case 0:
		_, g := m.task.do(unix.SYS_MUNMAP, m.guest, uint64(len(m.host)))
		p.same("munmap", g, asErrno(unix.Munmap(m.host)))
		p.maps = append(p.maps[:i], p.maps[i+1:]...)
	case 1, 2:
		prot := []int{unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE, unix.PROT_NONE}[p.rnd.IntN(3)]
		_, g := m.task.do(unix.SYS_MPROTECT, at, length, uint64(prot))
		if p.same(fmt.Sprintf("mprotect %d at %#x", prot, at), g, asErrno(unix.Mprotect(part, prot))) {
			for j := range n {
				m.prot[first+j] = prot
			}
		}
	case 3:
		advice := []int{unix.MADV_DONTNEED, unix.MADV_REMOVE, unix.MADV_FREE, unix.MADV_WILLNEED}[p.rnd.IntN(4)]
		_, g := m.task.do(unix.SYS_MADVISE, at, length, uint64(advice))
		p.same(fmt.Sprintf("madvise %d, %d pages at %#x", advice, n, at), g, asErrno(unix.Madvise(part, advice)))
	case 4:
		flags := p.rnd.IntN(8)
		_, g := m.task.do(unix.SYS_MSYNC, at, length, uint64(flags))
		p.same(fmt.Sprintf("msync %d", flags), g, asErrno(unix.Msync(part, flags)))
	default:
		p.access(m)
	}
}

// Mappings, reads, writes and changes of size of one file, in two processes,
// against the host: of a file in memory, and of one of the host that the guest can
// change.
func TestFileMappingsAgainstHost(t *testing.T) {
	for seed := range uint64(4) {
		mappingsAgainstHost(t, seed, false)
		mappingsAgainstHost(t, seed, true)
	}
}

func mappingsAgainstHost(t *testing.T, seed uint64, bind bool) {
	steps := 6000
	if testing.Short() {
		steps = 1500
	}
	k, _ := newBareKernel(t, 4<<20)
	p := &mappingPair{T: t, rnd: rand.New(rand.NewPCG(seed, 21)), tasks: [2]*Task{newBareTask(t, k), newBareTask(t, k)}}
	path, shown := "/file\x00", t.TempDir()
	var fd int
	var err error
	if bind {
		if err := k.ns.Root().Node.Mkdir("bind", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := k.bind(Bind{Host: shown, Guest: "/bind", Write: true}); err != nil {
			t.Fatal(err)
		}
		path = "/bind/file\x00"
		fd, err = unix.Open(t.TempDir()+"/file", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	} else {
		fd, err = unix.MemfdCreate("file", unix.MFD_CLOEXEC)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ro, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ro)
	p.host = [2]int{ro, fd}
	for i, task := range p.tasks {
		name := task.anon(t, 1)
		task.poke(t, name, []byte(path))
		for w, flags := range []uint64{unix.O_RDONLY | unix.O_CREAT, unix.O_RDWR} {
			p.fds[i][w] = uint64(task.must(t, unix.SYS_OPEN, name, flags, 0o600))
		}
	}
	for range steps {
		p.step()
	}
	for _, m := range p.maps {
		m.task.must(t, unix.SYS_MUNMAP, m.guest, uint64(len(m.host)))
		if err := unix.Munmap(m.host); err != nil {
			t.Error(err)
		}
	}
	if !bind {
		return
	}
	// Everything is in the host's file by now.
	got, err := os.ReadFile(shown + "/file")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", ro))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes that differ from the %d expected", len(got), len(want))
	}
}
