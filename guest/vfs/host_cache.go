package vfs

import (
	"goskas/physmem"

	"golang.org/x/sys/unix"
)

// HostCache keeps pages of the host's files, so that ten shells have one copy of
// their code: one frame for each page of a file, whoever maps it. Pages that
// nothing maps stay until memory is short.
//
// A file of a tree that cannot be changed is known by its times and size, too: if
// the host changes it, what opens it from then on has the new content, and
// mappings made before keep what they have seen of the old. A file that can be
// changed is one object for good; what the host does to it while it is mapped is
// seen in pages that have not been brought in.
type HostCache struct {
	mem     Memory
	limit   int // of pages
	pages   int
	objects map[hostKey]*hostObject
}

// NewHostCache makes a cache that keeps at most limit pages, except for those
// that a shared mapping of a file needs.
func NewHostCache(mem Memory, limit int) *HostCache {
	return &HostCache{mem: mem, limit: limit, objects: make(map[hostKey]*hostObject)}
}

// hostVersion tells contents of one file apart.
type hostVersion struct {
	mtime, ctime unix.Timespec
	size         int64
}

// hostKey names the content of a file.
type hostKey struct {
	dev, ino uint64
	write    bool
	version  hostVersion // zero if write
}

func versionOf(st *Stat) hostVersion { return hostVersion{st.Mtime, st.Ctime, st.Size} }

func (h *Host) key(st *Stat) hostKey {
	k := hostKey{dev: st.Dev, ino: st.Ino, write: h.write}
	if !h.write {
		k.version = versionOf(st)
	}
	return k
}

// hostObject is what there is of a file in memory.
type hostObject struct {
	Object
	cache *HostCache
	key   hostKey
	opens int // open files that have been mapped
	// version is what the pages of a file that can be changed were read from.
	version hostVersion
}

func (o *hostObject) discard(from, to int64) { o.cache.pages -= o.drop(from, to) }

// release is for an open file that is closed.
func (c *HostCache) release(o *hostObject) {
	if o.opens--; o.opens == 0 && len(o.pages) == 0 {
		delete(c.objects, o.key)
	}
}

// Drop gives back the frames of all pages but those that have to stay: of a file
// that can be changed, while it is mapped.
func (c *HostCache) Drop() {
	for key, o := range c.objects {
		if key.write && o.Mappings > 0 {
			continue
		}
		for n, pfn := range o.pages {
			delete(o.pages, n)
			c.mem.Unref(pfn)
			c.pages--
		}
		if o.opens == 0 {
			delete(c.objects, key)
		}
	}
}

// Close gives everything back; no file may be mapped any more.
func (c *HostCache) Close() {
	for _, o := range c.objects {
		o.discard(0, LastPage)
	}
	clear(c.objects)
}

// Object implements Mappable.
func (f *hostRegular) Object() *Object {
	c := f.host.cache
	if f.object == nil {
		o := c.objects[f.key]
		if o == nil {
			o = &hostObject{Object: Object{mem: c.mem}, cache: c, key: f.key}
			c.objects[f.key] = o
		}
		o.opens++
		f.object = o
	}
	if o := f.object; f.host.write && o.Mappings == 0 {
		st, err := f.Stat()
		if v := versionOf(&st); err != nil || v != o.version {
			o.discard(0, LastPage)
			o.version = v
		}
	}
	return &f.object.Object
}

// Pages implements Mappable.
func (f *hostRegular) Pages() int64 {
	if !f.host.write {
		return pagesOf(f.key.version.size)
	}
	st, err := f.Stat()
	if err != nil {
		return 0
	}
	return pagesOf(st.Size)
}

// keep adds a page to the cache, if it can; the caller keeps its own reference.
func (f *hostRegular) keep(n int64, pfn physmem.PFN) {
	c := f.host.cache
	if !f.host.write && c.pages >= c.limit {
		return
	}
	c.mem.Ref(pfn)
	f.object.put(n, pfn)
	c.pages++
}

// Page implements Mappable.
func (f *hostRegular) Page(n int64) (physmem.PFN, error) {
	if pfn, ok := f.object.Cached(n); ok {
		return pfn, nil
	}
	mem := f.host.cache.mem
	pfn, err := mem.Alloc()
	if err != nil {
		return 0, err
	}
	if err := f.Fill(n, mem.Bytes(pfn)); err != nil {
		mem.Unref(pfn)
		return 0, err
	}
	f.keep(n, pfn)
	return pfn, nil
}

// Fill implements Mappable.
func (f *hostRegular) Fill(n int64, frame []byte) error {
	if b := f.object.bytes(n); b != nil {
		copy(frame, b)
		return nil
	}
	got, err := f.load(frame, n)
	if err != nil || got > 0 {
		return err
	}
	if st, err := f.Stat(); err != nil || n >= pagesOf(st.Size) {
		return errBehind
	}
	return nil // it has grown since
}

// load reads as much as there is from page n on.
func (f *hostRegular) load(p []byte, n int64) (int, error) {
	done := 0
	for done < len(p) {
		got, err := f.hostFile.ReadAt(p[done:], n*pageSize+int64(done))
		if err != nil {
			return done, err
		}
		if got == 0 {
			break
		}
		done += got
	}
	return done, nil
}

// ReadAhead implements Mappable.
func (f *hostRegular) ReadAhead(n int64, count int) (physmem.PFN, int) {
	if count = int(min(int64(count), f.Pages()-n)); count <= 0 {
		return 0, 0
	}
	mem := f.host.cache.mem
	first, err := mem.AllocContig(count)
	if err != nil {
		return 0, 0
	}
	if _, err := f.load(mem.Range(first, count), n); err != nil {
		for i := range count {
			mem.Unref(first + physmem.PFN(i))
		}
		return 0, 0
	}
	for i := range count {
		f.keep(n+int64(i), first+physmem.PFN(i))
	}
	return first, count
}

// Dirtied implements Mappable.
func (f *hostRegular) Dirtied(n int64) {
	if f.object.dirty == nil {
		f.object.dirty = make(map[int64]bool)
	}
	f.object.dirty[n] = true
}

// WriteBack implements Mappable. As long as something maps the pages they may
// change again, and stay dirty.
func (f *hostRegular) WriteBack(from, to int64) error {
	o := f.memory()
	if o == nil || len(o.dirty) == 0 {
		return nil
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	// The caller may have it open for reading only, as fsync may.
	fd, err := unix.Open(selfFD(f.fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, n := range o.dirtyPages(from, to) {
		size := min(pageSize, st.Size-n*pageSize)
		if b := o.bytes(n); b != nil && size > 0 {
			if _, err := pwrite(fd, b[:size], n*pageSize); err != nil {
				return err
			}
		}
	}
	if o.Mappings == 0 {
		clear(o.dirty)
	}
	return nil
}
