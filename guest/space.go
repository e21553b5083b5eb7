package guest

import (
	"errors"
	"fmt"
	"strings"

	"goskas/arch"
	"goskas/internal/abi"
	"goskas/mm"
	"goskas/physmem"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// Where things lie in a guest address space. Addresses are the same in every
// run: a guest is for study, and its layout shall not depend on chance.
const (
	minAddr    = 0x10000        // nothing is mapped below (vm.mmap_min_addr)
	pieBase    = 0x555555554000 // of position-independent programs, as on Linux
	stackSize  = 8 << 20        // of process 1, by RLIMIT_STACK
	stackGap   = 256 << 12      // kept free below a stack that grows
	mmapMargin = stackSize * 16 // between the top of mappings and the stack's
)

// errBus is a page behind the end of its file or shared memory.
var errBus = errors.New("page behind the end of its object")

// Space is a guest address space. The kernel lock guards it.
type Space struct {
	k    *Kernel
	mm   hostSpace
	vmas vmas
	refs int

	stackTop      arch.Addr
	mmapTop       arch.Addr
	brkStart, brk arch.Addr
	stackLimit    uint64    // RLIMIT_STACK of the process
	vdso          arch.Addr // 0: none
	// Where the arguments are on the stack, with the environment behind them, and
	// what the program was told beside.
	argStart, argEnd, envEnd arch.Addr
	auxv                     []uint64
	barriers                 uint32 // that membarrier has registered
}

// hostSpace is what Space needs of *skas.MM; tests bring one without a stub.
type hostSpace interface {
	Table() *mm.Table
	End() arch.Addr
	Revoke() error
	Destroy()
}

// stubTries is how often newSpace starts a stub that does not live to report.
const stubTries = 3

// newSpace starts a stub for an empty address space. One that somebody kills
// before it is ready has no guest process yet, so another takes its place.
func (k *Kernel) newSpace() (*Space, error) {
	x, err := k.mon.NewMM()
	if errors.Is(err, physmem.ErrNoMemory) && k.reclaim() {
		x, err = k.mon.NewMM()
	}
	for try := 1; errors.Is(err, skas.ErrStubDead) && try < stubTries; try++ {
		k.log.Warn("stub did not start", "err", err)
		x, err = k.mon.NewMM()
	}
	if err != nil {
		return nil, err
	}
	return k.spaceOver(x), nil
}

func (k *Kernel) spaceOver(x hostSpace) *Space {
	s := &Space{k: k, mm: x, refs: 1, stackLimit: stackSize}
	s.stackTop = x.End() - arch.PageSize
	s.mmapTop = s.stackTop - mmapMargin
	x.Table().SetPager(s)
	return s
}

func (s *Space) ref() { s.refs++ }

// unref takes the space apart with its last user.
func (s *Space) unref() {
	if s.refs--; s.refs > 0 {
		return
	}
	s.vmas.tree.Scan(func(_ arch.Addr, v *vma) bool {
		v.file.unref()
		return true
	})
	s.mm.Destroy()
}

func (s *Space) table() *mm.Table { return s.mm.Table() }

// host is the stub's side, nil in tests that have none.
func (s *Space) host() *skas.MM {
	x, _ := s.mm.(*skas.MM)
	return x
}

// fork makes a copy: private pages are shared until somebody writes.
func (s *Space) fork() (*Space, error) {
	c, err := s.k.newSpace()
	if err != nil {
		return nil, err
	}
	if err := s.copyTo(c); err != nil {
		c.unref()
		return nil, err
	}
	// The pages that were writable here are the child's as well by now.
	if err := s.mm.Revoke(); err != nil {
		c.unref()
		return nil, err
	}
	return c, nil
}

func (s *Space) copyTo(c *Space) error {
	c.stackTop, c.mmapTop, c.brkStart, c.brk, c.stackLimit = s.stackTop, s.mmapTop, s.brkStart, s.brk, s.stackLimit
	c.argStart, c.argEnd, c.envEnd, c.auxv = s.argStart, s.argEnd, s.envEnd, s.auxv
	var err error
	s.vmas.tree.Scan(func(_ arch.Addr, v *vma) bool {
		if v.dontFork {
			return true
		}
		w := *v
		w.file.ref()
		c.vmas.put(&w)
		switch {
		case v.wipeOnFork:
		case v.shared:
			err = s.table().Share(c.table(), v.start, v.end)
		default:
			err = s.table().CopyOnWrite(c.table(), v.start, v.end)
		}
		return err == nil
	})
	return err
}

// alloc takes a frame, if need be from what can be had again.
func (k *Kernel) alloc() (pfn physmem.PFN, err error) {
	err = k.reclaiming(func() error { pfn, err = k.mem.Alloc(); return err })
	return pfn, err
}

// reclaiming calls f, and calls it again if memory was short and there is more now.
func (k *Kernel) reclaiming(f func() error) error {
	err := f()
	if errors.Is(err, physmem.ErrNoMemory) && k.reclaim() {
		err = f()
	}
	return err
}

// reclaim gets back frames that nobody needs: those of stubs that are dying, and
// cached pages of files.
func (k *Kernel) reclaim() bool {
	before := k.mem.Stats().Free
	if k.mon != nil {
		k.mon.Quiesce()
		k.mon.Reclaim()
	}
	k.dropCaches()
	return k.mem.Stats().Free > before
}

// fault answers a page fault of guest code. It returns 0, or the signal that
// the task gets for it; the error says why that is SIGKILL.
func (s *Space) fault(f arch.Fault) (sig int, code int32, _ error) {
	if !f.Page {
		return int(unix.SIGSEGV), abi.SI_KERNEL, nil
	}
	err := s.PageIn(f.Addr, f.Access)
	var bad *mm.Fault
	switch {
	case err == nil:
		return 0, 0, nil
	case errors.Is(err, errBus):
		return int(unix.SIGBUS), abi.BUS_ADRERR, nil
	case errors.As(err, &bad):
		if s.vmas.at(f.Addr) == nil {
			return int(unix.SIGSEGV), abi.SEGV_MAPERR, nil
		}
		return int(unix.SIGSEGV), abi.SEGV_ACCERR, nil
	default:
		return int(unix.SIGKILL), 0, err
	}
}

// PageIn makes the page at a accessible, if the space allows that: it implements
// mm.Pager. The error is a *mm.Fault, errBus, or the lack of memory.
func (s *Space) PageIn(a arch.Addr, acc arch.Access) error {
	v := s.vmas.at(a)
	if v == nil {
		if v = s.growStack(a); v == nil {
			return &mm.Fault{Addr: a, Access: acc}
		}
	}
	if acc&^v.acc != 0 {
		return &mm.Fault{Addr: a, Access: acc}
	}
	page := a.PageDown()
	p := s.table().Lookup(page)
	switch {
	case !p.Present():
		return s.fill(v, page, acc)
	case acc&arch.Write != 0 && p.COW():
		s.k.stats.CowFaults++
		return s.breakCOW(page)
	default:
		s.table().Touch(page, acc)
		return nil
	}
}

func (s *Space) breakCOW(page arch.Addr) error {
	return s.k.reclaiming(func() error { return s.table().BreakCOW(page) })
}

// fill brings in a page that is not there.
func (s *Space) fill(v *vma, page arch.Addr, acc arch.Access) error {
	switch {
	case v.file != nil:
		return s.fillFile(v, page, acc)
	case v.frames != nil:
		return s.fillKernel(v, page, acc)
	}
	s.k.stats.MinorFaults++
	if acc&arch.Write == 0 {
		pfn, err := s.k.zeroPage()
		if err != nil {
			return err
		}
		return s.table().MapShared(page, pfn, v.acc)
	}
	pfn, err := s.alloc(page)
	if err != nil {
		return err
	}
	return s.table().Map(page, pfn, v.acc)
}

// alloc takes a frame for a page of this space alone.
func (s *Space) alloc(page arch.Addr) (pfn physmem.PFN, err error) {
	err = s.k.reclaiming(func() error { pfn, err = s.table().Alloc(page); return err })
	return pfn, err
}

// maxRun bounds the frames that fillRun takes at once: 1 MiB.
const maxRun = 256

// fillRun gives the absent anonymous pages from a on, if they may be written,
// adjacent frames, so that one call of the stub maps them all. It returns their number: 0 if there is
// nothing to gain, or no such frames.
func (s *Space) fillRun(a, end arch.Addr) int {
	v := s.vmas.at(a)
	if v == nil || v.file != nil || v.frames != nil || v.acc&arch.Write == 0 {
		return 0
	}
	limit := min(end, v.end, a+maxRun*arch.PageSize)
	n := 0
	for at := a; at < limit && !s.table().Lookup(at).Present(); at += arch.PageSize {
		n++
	}
	if n < 2 {
		return 0
	}
	first, err := s.k.mem.AllocContig(n)
	if err != nil {
		return 0
	}
	s.k.stats.MinorFaults += uint64(n)
	for i := range n {
		if err := s.table().Map(a+arch.Addr(i)*arch.PageSize, first+physmem.PFN(i), v.acc); err != nil {
			panic("BUG: a VMA outside the page table: " + err.Error())
		}
	}
	return n
}

// growStack extends a stack down to a, if a is close below one.
func (s *Space) growStack(a arch.Addr) *vma {
	v := s.vmas.next(a)
	if v == nil || !v.growsDown || a < minAddr {
		return nil
	}
	start := a.PageDown()
	if uint64(v.end-start) > s.stackLimit {
		return nil
	}
	// As in Linux, what cannot be accessed may be closer, and other stacks.
	for _, below := range s.vmas.in(start-min(start, stackGap), v.start) {
		if below.end > start || below.acc != 0 && !below.growsDown {
			return nil
		}
	}
	grow := uint64(v.start - start)
	if v.file != nil && grow > v.offset {
		return nil // there is nothing before the start of a file
	}
	s.vmas.delete(v)
	v.start = start
	if v.file != nil {
		v.offset -= grow
	}
	s.vmas.put(v)
	return v
}

// pages tells the sizes of the space, in bytes: all of it, and what is in
// memory.
func (s *Space) pages() (vsize, rss uint64) {
	s.vmas.tree.Scan(func(_ arch.Addr, v *vma) bool {
		vsize += uint64(v.end - v.start)
		return true
	})
	return vsize, uint64(s.table().Pages()) * arch.PageSize
}

// maps is the text of /proc/pid/maps.
func (s *Space) maps() string {
	var b strings.Builder
	s.vmas.tree.Scan(func(_ arch.Addr, v *vma) bool {
		kind := "p"
		if v.shared {
			kind = "s"
		}
		name, dev, ino := v.name, uint64(0), uint64(0)
		if v.file != nil {
			name = v.file.path
			if st, err := v.file.open.File.Stat(); err == nil {
				dev, ino = st.Dev, st.Ino
			}
		}
		line := fmt.Sprintf("%08x-%08x %v%s %08x %02x:%02x %d", uint64(v.start), uint64(v.end), v.acc, kind, v.offset,
			unix.Major(dev), unix.Minor(dev), ino)
		if name != "" {
			line = fmt.Sprintf("%-72s %s", line, name)
		}
		b.WriteString(line + "\n")
		return true
	})
	return b.String()
}
