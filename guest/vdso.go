package guest

import (
	"fmt"
	"time"

	"goskas/arch"
	"goskas/physmem"
	"goskas/timer"
)

// vdso is the shared object that programs find the time with, and the page from
// which it reads it: two frames that all address spaces map, which guests cannot
// write.
type vdso struct {
	clock  *steadyClock
	frames [1 + arch.VDSOPages]physmem.PFN // the time first
	// real is the time of day less the clock's.
	real time.Duration
}

// realStep is by how much the time of day has to differ from the host's before
// it is set again: more than two readings of the host's clocks are apart.
const realStep = time.Microsecond

// newVDSO makes the pages; nil means that this host's clocks do not run on a
// counter that guests can read.
func (k *Kernel) newVDSO() (*vdso, error) {
	counter := counterOf(k.arch)
	source, err := timer.Source()
	if counter == nil || err != nil || source != "tsc" && source != "kvm-clock" {
		k.log.Debug("guests ask the monitor for the time", "steady counter", counter != nil, "clock source", source, "err", err)
		return nil, nil
	}
	image, err := counter.VDSO()
	if err != nil {
		return nil, fmt.Errorf("assemble vDSO: %w", err)
	}
	v := &vdso{clock: newSteadyClock(k.clock, counter)}
	for i := range v.frames {
		if v.frames[i], err = k.mem.Alloc(); err != nil {
			for _, pfn := range v.frames[:i] {
				k.mem.Unref(pfn)
			}
			return nil, fmt.Errorf("memory for the vDSO: %w", err)
		}
	}
	for i, pfn := range v.frames[1:] {
		copy(k.mem.Bytes(pfn), image[i*arch.PageSize:])
	}
	page := k.mem.Bytes(v.frames[0])
	le.PutUint32(page[arch.TimeSeq:], 1) // nothing can be read yet
	le.PutUint32(page[arch.TimeCPUs:], uint32(k.cfg.CPUs))
	return v, nil
}

func (v *vdso) close(mem *physmem.Memory) {
	for _, pfn := range v.frames {
		mem.Unref(pfn)
	}
}

// keepTime steers the clock that guests read, now and then.
func (k *Kernel) keepTime() {
	v := k.vdso
	if v == nil || !v.clock.steer() {
		return
	}
	if v.clock.state == steadyBroken {
		k.log.Warn("the CPU's counter does not keep time; guests ask the monitor from now on")
	}
	if real := time.Duration(time.Now().UnixNano()) - k.now(); (real - v.real).Abs() >= realStep {
		v.real = real
	}
	k.clock = v.clock
	v.publish(k.mem)
}

// publish writes the time page. A reader that comes in between, or has started
// before, sees it by the sequence number.
func (v *vdso) publish(mem *physmem.Memory) {
	page := mem.Bytes(v.frames[0])
	word := page[arch.TimeSeq:]
	seq := le.Uint32(word)
	if seq&1 == 0 {
		physmem.CompareAndSwap(word, seq, seq+1)
		seq++
	}
	if v.clock.state != steadyRunning {
		return // odd for good
	}
	le.PutUint64(page[arch.TimeBase:], v.clock.base.counter)
	le.PutUint64(page[arch.TimeMult:], v.clock.mult)
	le.PutUint64(page[arch.TimeMono:], uint64(v.clock.base.at))
	le.PutUint64(page[arch.TimeReal:], uint64(v.real))
	physmem.CompareAndSwap(word, seq, seq+1)
}

// wall is the time of day, since 1970.
func (k *Kernel) wall() time.Duration {
	if v := k.vdso; v != nil && v.clock.state == steadyRunning {
		return k.now() + v.real
	}
	return time.Duration(time.Now().UnixNano())
}

// mapVDSO maps the pages into a fresh address space and returns where the shared
// object begins, 0 if there is none.
func (s *Space) mapVDSO() arch.Addr {
	v := s.k.vdso
	if v == nil {
		return 0
	}
	size := uint64(len(v.frames)) * arch.PageSize
	at, ok := s.vmas.gap(minAddr, s.mmapTop, size)
	if !ok {
		return 0
	}
	code := at + arch.PageSize
	s.vmas.put(&vma{start: at, end: code, acc: arch.Read, frames: v.frames[:1], name: "[vvar]"})
	s.vmas.put(&vma{start: code, end: at + arch.Addr(size), acc: arch.Read | arch.Exec, frames: v.frames[1:], name: "[vdso]"})
	return code
}

// fillKernel brings in a page of the kernel's own: itself to be read, a copy to
// be written.
func (s *Space) fillKernel(v *vma, page arch.Addr, acc arch.Access) error {
	n := v.filePage(page)
	if n >= int64(len(v.frames)) {
		return errBus
	}
	pfn := v.frames[n]
	if acc&arch.Write == 0 {
		s.k.mem.Ref(pfn)
		return s.table().MapShared(page, pfn, v.acc)
	}
	own, err := s.alloc(page)
	if err != nil {
		return err
	}
	copy(s.k.mem.Bytes(own), s.k.mem.Bytes(pfn))
	return s.table().Map(page, own, v.acc)
}
