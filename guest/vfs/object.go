package vfs

import (
	"maps"
	"slices"

	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// Memory is where the content of files lies: frames that mappings show, too.
type Memory interface {
	Alloc() (physmem.PFN, error)
	AllocContig(n int) (physmem.PFN, error)
	Ref(physmem.PFN)
	Unref(physmem.PFN)
	Bytes(physmem.PFN) []byte
	Range(first physmem.PFN, n int) []byte
	// Unmap takes the pages [from, to) of an object out of every address
	// space, private copies of them only if copies is set.
	Unmap(o *Object, from, to int64, copies bool)
}

// Object is the content of a file as far as it is in memory: the one cache that
// read, write and every mapping of the file go through. It holds a reference to
// each of its frames. Whoever opens the file anew finds the same object.
type Object struct {
	mem   Memory
	pages map[int64]physmem.PFN
	// Mappings counts what shows the object in address spaces; the owner of
	// those keeps it. While it is 0, nothing has to be unmapped.
	Mappings int
	// dirty are the pages that a shared mapping may have changed and the file
	// behind them does not know of; nil for an object that is its own file.
	dirty map[int64]bool
	seals int // F_SEAL_* (linux/fcntl.h)
}

// Mappable is an open file whose content can be mapped. Pages are numbered from
// the start of the file; what Page, ReadAhead and Cached return comes with a
// reference for the caller.
type Mappable interface {
	Object() *Object
	// Pages is how many pages the file has.
	Pages() int64
	// Page is the frame of a page, made if need be. ENXIO says that it lies
	// behind the end of the file.
	Page(n int64) (physmem.PFN, error)
	// Fill copies a page into a frame of zeros without keeping it: for one
	// that is about to be written, in private.
	Fill(n int64, frame []byte) error
	// ReadAhead brings at most count pages, none of which is in memory, into
	// adjacent frames. It returns how many, 0 if there is no point in that.
	ReadAhead(n int64, count int) (physmem.PFN, int)
	// Dirtied says that a shared mapping can change a page from now on, and
	// WriteBack brings the file up to date with such pages of a range.
	Dirtied(n int64)
	WriteBack(from, to int64) error
}

// Cached is the frame of a page that is in memory.
func (o *Object) Cached(n int64) (physmem.PFN, bool) {
	pfn, ok := o.pages[n]
	if ok {
		o.mem.Ref(pfn)
	}
	return pfn, ok
}

// Frame is the frame of a page that is in memory, without a reference.
func (o *Object) Frame(n int64) (physmem.PFN, bool) {
	pfn, ok := o.pages[n]
	return pfn, ok
}

// Has reports whether a page is in memory.
func (o *Object) Has(n int64) bool {
	_, ok := o.pages[n]
	return ok
}

// Seals are the F_SEAL_* of a file in memory: what cannot be done to it any more.
func (o *Object) Seals() int { return o.seals }

// SetSeals sets them.
func (o *Object) SetSeals(seals int) { o.seals = seals }

// InMemory reports whether a file is in memory and nowhere else.
func InMemory(f File) bool {
	_, ok := f.(*tmpRegular)
	return ok
}

// bytes is the content of a page that is in memory, nil of others.
func (o *Object) bytes(n int64) []byte {
	if pfn, ok := o.pages[n]; ok {
		return o.mem.Bytes(pfn)
	}
	return nil
}

// put adds a page and takes over the reference to its frame.
func (o *Object) put(n int64, pfn physmem.PFN) {
	if o.pages == nil {
		o.pages = make(map[int64]physmem.PFN)
	}
	o.pages[n] = pfn
}

// drop gives up the pages [from, to), also where they are mapped, and returns
// how many there were. Behind a new end of the file private copies go as well, but
// not where it gets a hole.
func (o *Object) drop(from, to int64) int {
	if o.Mappings > 0 {
		o.mem.Unmap(o, from, to, to == LastPage)
	}
	had := len(o.pages)
	remove := func(n int64, pfn physmem.PFN) {
		delete(o.pages, n)
		delete(o.dirty, n)
		o.mem.Unref(pfn)
	}
	if to-from <= int64(had) {
		for n := from; n < to; n++ {
			if pfn, ok := o.pages[n]; ok {
				remove(n, pfn)
			}
		}
		return had - len(o.pages)
	}
	for n, pfn := range o.pages {
		if n >= from && n < to {
			remove(n, pfn)
		}
	}
	return had - len(o.pages)
}

// clear makes the bytes [from, to) zero that are in memory; both lie in pages
// that stay.
func (o *Object) clear(from, to int64) {
	for from < to {
		end := min(to, (from/pageSize+1)*pageSize)
		if b := o.bytes(from / pageSize); b != nil {
			clear(b[from%pageSize : end-(from/pageSize)*pageSize])
		}
		from = end
	}
}

// punch makes the bytes [from, to) zero: whole pages are given up by way of drop,
// the ends are cleared.
func (o *Object) punch(from, to int64, drop func(first, last int64)) {
	first, last := pagesOf(from), to/pageSize
	if first < last {
		drop(first, last)
	}
	o.clear(from, min(to, first*pageSize))
	o.clear(max(from, last*pageSize), to)
}

// readAt and writeAt copy between p and what is in memory of the bytes from off
// on; the rest of p, or of the object, is left alone.
func (o *Object) readAt(p []byte, off int64) {
	if len(o.pages) > 0 {
		o.each(p, off, func(chunk, page []byte) { copy(chunk, page) })
	}
}

func (o *Object) writeAt(p []byte, off int64) {
	if len(o.pages) > 0 {
		o.each(p, off, func(chunk, page []byte) { copy(page, chunk) })
	}
}

// each calls f for the pieces of p and the page content that belongs to each, nil
// if that is not in memory.
func (o *Object) each(p []byte, off int64, f func(chunk, page []byte)) {
	for len(p) > 0 {
		chunk := p[:min(int64(len(p)), pageSize-off%pageSize)]
		page := o.bytes(off / pageSize)
		if page != nil {
			page = page[off%pageSize:]
		}
		f(chunk, page)
		p, off = p[len(chunk):], off+int64(len(chunk))
	}
}

// dirtyPages lists what has to be written back of a range, in order.
func (o *Object) dirtyPages(from, to int64) []int64 {
	var list []int64
	for n := range maps.Keys(o.dirty) {
		if n >= from && n < to {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// pageSize is that of a frame.
const pageSize = physmem.PageSize

// LastPage is behind every page of a file.
const LastPage = 1 << 51

// pagesOf is how many pages a number of bytes take.
func pagesOf(size int64) int64 { return size/pageSize + min(size%pageSize, 1) }

// errBehind says that a page lies behind the end of its file.
const errBehind = unix.ENXIO
