package physmem

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// PageSize is the size of a frame.
const PageSize = 4096

// PFN is a frame's number: its offset in the memfd in pages.
type PFN uint64

// Limits of New.
const (
	MinSize = 1 << 20
	MaxSize = 1 << 40
)

// ErrNoMemory says that no frame is free (or, for AllocContig, no run of them).
var ErrNoMemory = errors.New("out of guest memory")

// Stats counts frames.
type Stats struct {
	Total int `json:"total"`
	Free  int `json:"free"`
	InUse int `json:"in_use"`
	Peak  int `json:"peak"`
}

// Memory is one memfd of frames.
type Memory struct {
	fd     int
	view   []byte // linear, shared, of the whole memfd
	poison bool

	mu   sync.Mutex
	refs []int32 // by PFN
	// Frames from fresh on have never been used: the kernel made them
	// zero, and nobody has touched them since.
	fresh PFN
	// free are the used frames that came back, last in first out: the last
	// is the likeliest to be in a cache. A frame that was taken out of the
	// middle leaves a stale entry, which has a reference.
	free  []PFN
	inUse int
	peak  int
}

// New makes physical memory of size bytes, rounded up to whole frames. The
// memfd can be neither grown nor shrunk from then on, so an offset that was
// good stays good.
func New(size int64) (*Memory, error) {
	if size < MinSize || size > MaxSize {
		return nil, fmt.Errorf("guest memory of %d bytes: give %d to %d", size, int64(MinSize), int64(MaxSize))
	}
	frames := (size + PageSize - 1) / PageSize
	fd, err := unix.MemfdCreate("physmem", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create for guest memory: %w", err)
	}
	m := &Memory{fd: fd, refs: make([]int32, frames)}
	if err := m.setup(frames * PageSize); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return m, nil
}

func (m *Memory) setup(size int64) error {
	if err := unix.Ftruncate(m.fd, size); err != nil {
		return fmt.Errorf("size guest memory: %w", err)
	}
	seals := unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(m.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal guest memory: %w", err)
	}
	var err error
	m.view, err = unix.Mmap(m.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map guest memory: %w", err)
	}
	return nil
}

// Close gives the memory back. Nothing that came from Bytes may be used again.
func (m *Memory) Close() error {
	return errors.Join(unix.Munmap(m.view), unix.Close(m.fd))
}

// SetPoison fills frames that are freed with a pattern, so that a test sees
// who reads them too late.
func (m *Memory) SetPoison(on bool) { m.poison = on }

const poisonByte = 0xdb

// Alloc takes a frame of zeros with one reference.
func (m *Memory) Alloc() (PFN, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pfn, err := m.next()
	if err == nil {
		m.give(pfn)
	}
	return pfn, err
}

// next finds a free frame, and takes it off the free list.
func (m *Memory) next() (PFN, error) {
	for n := len(m.free); n > 0; n = len(m.free) {
		pfn := m.free[n-1]
		m.free = m.free[:n-1]
		if m.refs[pfn] == 0 {
			return pfn, nil
		}
	}
	if int(m.fresh) == len(m.refs) {
		return 0, ErrNoMemory
	}
	return m.fresh, nil
}

// None is the number of no frame.
const None = ^PFN(0)

// AllocNear is Alloc for a page whose neighbours have the frames below and above,
// or None. It takes the frame that continues one of them, so that all of them are
// one mapping on the host; failing that, one with free frames behind it.
func (m *Memory) AllocNear(below, above PFN) (PFN, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if below != None && m.isFree(below+1) {
		m.give(below + 1)
		return below + 1, nil
	}
	if m.isFree(above - 1) {
		m.give(above - 1)
		return above - 1, nil
	}
	pfn, err := m.next()
	if err != nil {
		return 0, err
	}
	first := pfn
	for pfn-first < maxBack && m.isFree(first-1) {
		first--
	}
	if first != pfn && pfn < m.fresh {
		m.free = append(m.free, pfn)
	}
	m.give(first)
	return first, nil
}

// maxBack bounds the way back to the beginning of free frames.
const maxBack = 256

// isFree reports whether a frame can be given: a used one that came back, or the
// first of those that were never used, which are given in order.
func (m *Memory) isFree(pfn PFN) bool {
	return pfn <= m.fresh && int(pfn) < len(m.refs) && m.refs[pfn] == 0
}

// give takes a frame out for somebody new. A used one may stay on the free list,
// as a stale entry.
func (m *Memory) give(pfn PFN) {
	if pfn == m.fresh {
		m.fresh++
	} else {
		clear(m.Bytes(pfn))
	}
	m.refs[pfn] = 1
	m.inUse++
	m.peak = max(m.peak, m.inUse)
}

// AllocContig takes n adjacent frames of zeros with one reference each.
func (m *Memory) AllocContig(n int) (PFN, error) {
	if n <= 0 || bits.Len(uint(n)) > 32 {
		panic(fmt.Sprintf("BUG: %d adjacent frames asked for", n))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first, ok := m.findRun(n)
	if !ok {
		return 0, ErrNoMemory
	}
	for i := range n {
		m.give(first + PFN(i))
	}
	return first, nil
}

// findRun looks for n adjacent free frames: on top of the free list, where a
// run that was just freed lies, then among the fresh frames, then everywhere.
func (m *Memory) findRun(n int) (PFN, bool) {
	if top := len(m.free); top >= n {
		lo := m.free[top-1]
		for _, pfn := range m.free[top-n:] {
			lo = min(lo, pfn)
		}
		if m.runFree(lo, n) {
			return lo, true
		}
	}
	if len(m.refs)-int(m.fresh) >= n {
		return m.fresh, true
	}
	for pfn := range m.refs {
		if m.runFree(PFN(pfn), n) {
			return PFN(pfn), true
		}
	}
	return 0, false
}

func (m *Memory) runFree(first PFN, n int) bool {
	if int(first)+n > len(m.refs) {
		return false
	}
	for _, refs := range m.refs[first : int(first)+n] {
		if refs != 0 {
			return false
		}
	}
	return true
}

// Ref adds a reference to a frame that is in use.
func (m *Memory) Ref(pfn PFN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs[pfn] <= 0 {
		panic(fmt.Sprintf("BUG: reference to free frame %d", pfn))
	}
	m.refs[pfn]++
}

// Unref drops a reference; the last one frees the frame.
func (m *Memory) Unref(pfn PFN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs[pfn] <= 0 {
		panic(fmt.Sprintf("BUG: frame %d freed twice", pfn))
	}
	m.refs[pfn]--
	if m.refs[pfn] > 0 {
		return
	}
	m.inUse--
	if m.poison {
		b := m.Bytes(pfn)
		for i := range b {
			b[i] = poisonByte
		}
	}
	if len(m.free) >= 2*len(m.refs) {
		m.dropStale()
	}
	m.free = append(m.free, pfn)
}

// dropStale keeps the free list within the number of frames.
func (m *Memory) dropStale() {
	seen := make([]bool, len(m.refs))
	kept := m.free[:0]
	for _, pfn := range m.free {
		if m.refs[pfn] == 0 && !seen[pfn] {
			seen[pfn] = true
			kept = append(kept, pfn)
		}
	}
	m.free = kept
}

// Refs is the number of references to a frame.
func (m *Memory) Refs(pfn PFN) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.refs[pfn])
}

// Bytes is a frame in the linear view. Guest code may change it at any time.
func (m *Memory) Bytes(pfn PFN) []byte { return m.Range(pfn, 1) }

// Range is n adjacent frames in the linear view.
func (m *Memory) Range(pfn PFN, n int) []byte {
	lo, hi := int(pfn)*PageSize, (int(pfn)+n)*PageSize
	return m.view[lo:hi:hi]
}

// PhysMapping tells which descriptor and offset a mapping of the frame needs
// (UML's phys_mapping).
func (m *Memory) PhysMapping(pfn PFN) (fd int, offset int64) {
	return m.fd, int64(pfn) * PageSize
}

// Stats counts frames now.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	total := len(m.refs)
	return Stats{Total: total, Free: total - m.inUse, InUse: m.inUse, Peak: m.peak}
}
