package guest

import (
	"math"

	"goskas/arch"
	"goskas/guest/vfs"
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// cacheKey names a file whose content cannot change while it is the same.
type cacheKey struct {
	dev, ino uint64
	mtime    unix.Timespec
	size     int64
}

type cachePage struct {
	key    cacheKey
	offset uint64
}

// memCache keeps pages of the host's files, so that ten shells have one copy of
// their code. It holds one reference to each frame.
type memCache struct {
	pages   map[cachePage]physmem.PFN
	zero    physmem.PFN // if hasZero
	hasZero bool
}

// memCacheShare is the part of memory that the cache may take.
const memCacheShare = 4

// get returns a cached page with a reference for the caller.
func (c *memCache) get(k *Kernel, f *fileMapping, offset uint64) (physmem.PFN, bool) {
	if !f.cacheable(offset) {
		return 0, false
	}
	pfn, ok := c.pages[cachePage{f.key, offset}]
	if ok {
		k.mem.Ref(pfn)
	}
	return pfn, ok
}

// has reports whether get would find a page.
func (c *memCache) has(f *fileMapping, offset uint64) bool {
	_, ok := c.pages[cachePage{f.key, offset}]
	return ok
}

// put adds a page, if it can; the caller keeps its own reference.
func (c *memCache) put(k *Kernel, f *fileMapping, offset uint64, pfn physmem.PFN) {
	if !f.cacheable(offset) || len(c.pages) >= k.mem.Stats().Total/memCacheShare {
		return
	}
	if c.pages == nil {
		c.pages = make(map[cachePage]physmem.PFN)
	}
	c.pages[cachePage{f.key, offset}] = pfn
	k.mem.Ref(pfn)
}

// zeros is a page of zeros, with a reference for the caller: what fresh memory
// is that has only been read.
func (c *memCache) zeros(k *Kernel) (physmem.PFN, error) {
	if !c.hasZero {
		pfn, err := k.alloc()
		if err != nil {
			return 0, err
		}
		c.zero, c.hasZero = pfn, true
	}
	k.mem.Ref(c.zero)
	return c.zero, nil
}

// dropMemCache gives the cache's frames back.
func (k *Kernel) dropMemCache() {
	for _, pfn := range k.memCache.pages {
		k.mem.Unref(pfn)
	}
	clear(k.memCache.pages)
	if k.memCache.hasZero {
		k.mem.Unref(k.memCache.zero)
		k.memCache.hasZero = false
	}
}

// newFileMapping makes a mapping of an open file, with one reference for the
// caller. limit cuts the file short; math.MaxUint64 does not.
func newFileMapping(o *vfs.OpenFile, path string, limit uint64) (*fileMapping, error) {
	f := &fileMapping{open: o.Ref(), path: path, limit: limit, refs: 1}
	st, err := o.File.Stat()
	if err != nil {
		f.unref()
		return nil, err
	}
	f.key = cacheKey{ino: st.Ino}
	if vfs.IsHost(o.File) {
		f.key = cacheKey{st.Dev, st.Ino, st.Mtime, st.Size}
	}
	return f, nil
}

// cacheable reports whether the whole page comes from a file that stays as it
// is.
func (f *fileMapping) cacheable(offset uint64) bool {
	return f.key.size > 0 && (f.limit == math.MaxUint64 || offset+arch.PageSize <= f.limit)
}

// readAhead reports whether the page may be brought in before anybody asks for
// it: all of it comes from a file that stays as it is, and some of it is there.
func (f *fileMapping) readAhead(offset uint64) bool {
	return f.cacheable(offset) && offset < uint64(f.key.size)
}

// read fills pages of zeros from the file.
func (f *fileMapping) read(page []byte, offset uint64) error {
	st, err := f.open.File.Stat()
	if err != nil {
		return errBus
	}
	if f.limit == math.MaxUint64 && offset >= (uint64(max(st.Size, 0))+arch.PageSize-1)&^(arch.PageSize-1) {
		return errBus
	}
	if offset >= f.limit {
		return nil
	}
	page = page[:min(uint64(len(page)), f.limit-offset)]
	for done := 0; done < len(page); {
		n, err := f.open.File.ReadAt(page[done:], int64(offset)+int64(done))
		if err != nil {
			return errBus
		}
		if n == 0 {
			break
		}
		done += n
	}
	return nil
}
