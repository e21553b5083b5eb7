package guest

import (
	"errors"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/mm"
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// fileMapping is an open file that VMAs show. It lives as long as one of them.
type fileMapping struct {
	k       *Kernel
	open    *vfs.OpenFile
	content vfs.Mappable
	object  *vfs.Object
	path    string
	refs    int
}

// newFileMapping makes a mapping of an open file, with one reference for the
// caller.
func (k *Kernel) newFileMapping(o *vfs.OpenFile, path string) (*fileMapping, unix.Errno) {
	content, ok := o.File.(vfs.Mappable)
	if !ok {
		return nil, unix.ENODEV
	}
	f := &fileMapping{k: k, open: o.Ref(), content: content, object: content.Object(), path: path, refs: 1}
	f.object.Mappings++
	return f, 0
}

func (f *fileMapping) ref() *fileMapping {
	if f != nil {
		f.refs++
	}
	return f
}

// unref ends the mapping with its last VMA. What was written to a file of the
// host through it gets there now at the latest.
func (f *fileMapping) unref() {
	if f == nil {
		return
	}
	if f.refs--; f.refs > 0 {
		return
	}
	f.object.Mappings--
	if f.open.CanWrite() {
		if err := f.content.WriteBack(0, vfs.LastPage); err != nil {
			f.k.log.Warn("file not written back from a mapping", "path", f.path, "err", err)
		}
	}
	_ = f.open.Unref() // the mapping is gone: nobody is left to be told
}

// zeroPage is the one page of zeros, with a reference for the caller: what fresh
// memory is that has only been read.
func (k *Kernel) zeroPage() (physmem.PFN, error) {
	if !k.hasZero {
		pfn, err := k.alloc()
		if err != nil {
			return 0, err
		}
		k.zero, k.hasZero = pfn, true
	}
	k.mem.Ref(k.zero)
	return k.zero, nil
}

// dropCaches gives back frames that can be had again.
func (k *Kernel) dropCaches() {
	if k.files != nil {
		k.files.Drop()
	}
	if k.hasZero {
		k.mem.Unref(k.zero)
		k.hasZero = false
	}
}

// fileMemory is the memory that the content of files lies in, vfs.Memory.
type fileMemory struct {
	*physmem.Memory
	k *Kernel
}

// Alloc implements vfs.Memory: as any other page of guest memory.
func (m fileMemory) Alloc() (physmem.PFN, error) { return m.k.alloc() }

// Unmap implements vfs.Memory. The frames themselves stay until no stub can have
// them any more: the page tables see to that.
func (m fileMemory) Unmap(o *vfs.Object, from, to int64, copies bool) {
	m.k.eachMapping(o, func(s *Space, v *vma) {
		first, last := v.filePage(v.start), v.filePage(v.end)
		lo, hi := max(first, from), min(last, to)
		if lo >= hi {
			return
		}
		start, end := v.start+arch.Addr(lo-first)*arch.PageSize, v.start+arch.Addr(hi-first)*arch.PageSize
		if v.shared || copies {
			s.table().Unmap(start, end)
			return
		}
		for a := start; a < end; a += arch.PageSize {
			pfn, ok := o.Frame(v.filePage(a))
			if p := s.table().Lookup(a); ok && p.Present() && p.PFN() == pfn {
				s.table().Unmap(a, a+arch.PageSize)
			}
		}
	})
}

// eachMapping calls f for every VMA that shows an object.
func (k *Kernel) eachMapping(o *vfs.Object, f func(s *Space, v *vma)) {
	for s := range k.spaces() {
		s.vmas.tree.Scan(func(_ arch.Addr, v *vma) bool {
			if v.file != nil && v.file.object == o {
				f(s, v)
			}
			return true
		})
	}
}

// spaces are the address spaces of all tasks.
func (k *Kernel) spaces() map[*Space]bool {
	all := make(map[*Space]bool)
	for _, t := range k.tasks {
		if t.space != nil {
			all[t.space] = true
		}
	}
	return all
}

// fillFile brings in a page of a file.
func (s *Space) fillFile(v *vma, page arch.Addr, acc arch.Access) error {
	n := v.filePage(page)
	if v.shared {
		return s.fillShared(v, page, n)
	}
	s.k.stats.FileFaults++
	// A page that is only read can be the one that others have, too.
	if acc&arch.Write == 0 {
		if !s.k.cfg.NoFaultAround && s.fillAround(v, page) {
			return nil
		}
		pfn, err := v.file.content.Page(n)
		if err != nil {
			return fileFault(err)
		}
		return s.table().MapShared(page, pfn, v.acc)
	}
	pfn, err := s.alloc(page)
	if err != nil {
		return err
	}
	if err := v.file.content.Fill(n, s.k.mem.Bytes(pfn)); err != nil {
		s.k.mem.Unref(pfn)
		return fileFault(err)
	}
	return s.table().Map(page, pfn, v.acc)
}

// fillShared maps the file's own page.
func (s *Space) fillShared(v *vma, page arch.Addr, n int64) error {
	if v.file.path == anonPath {
		s.k.stats.MinorFaults++
	} else {
		s.k.stats.FileFaults++
	}
	pfn, err := v.file.content.Page(n)
	if err != nil {
		return fileFault(err)
	}
	if v.acc&arch.Write != 0 {
		v.file.content.Dirtied(n)
	}
	return s.table().Map(page, pfn, v.acc)
}

// fileFault is what an access finds when its page cannot be had: a bus error,
// unless it is memory that is short.
func fileFault(err error) error {
	if errors.Is(err, physmem.ErrNoMemory) {
		return err
	}
	return errBus
}

// dirtied notes that the pages of a shared mapping that are there can be written
// from now on.
func (s *Space) dirtied(v *vma) {
	s.table().Each(v.start, v.end, func(a arch.Addr, _ mm.PTE) bool {
		v.file.content.Dirtied(v.filePage(a))
		return true
	})
}
