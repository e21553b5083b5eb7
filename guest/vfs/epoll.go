package vfs

import (
	"slices"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

const (
	// epollPrivate are the bits of an interest that are no events
	// (EP_PRIVATE_BITS in fs/eventpoll.c).
	epollPrivate = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// epollExclusive is what may stand beside EPOLLEXCLUSIVE.
	epollExclusive = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLERR | unix.EPOLLHUP |
		unix.EPOLLWAKEUP | unix.EPOLLET | unix.EPOLLEXCLUSIVE
	// epollNests is how many epoll descriptors may stand in a chain above the
	// lowest (EP_MAX_NESTS).
	epollNests = 4
)

// Epoll is an interest list of epoll(7).
//
// An item waits on its file's queue. Woken, it goes on the list of those that
// may be ready; only Collect, or somebody who polls the epoll descriptor, finds
// out whether it is, and takes it off if not. An edge-triggered item comes off
// as soon as it is reported, a level-triggered one goes to the end.
type Epoll struct {
	anonFile
	items map[epollKey]*epollItem
	// The list of items that may be ready.
	head, tail *epollItem
	// above has an epoll descriptor for each item of its that watches this one.
	above []*Epoll
	queue wait.Queue
}

// epollKey: an open file may be in the list once for each of its descriptors.
type epollKey struct {
	file *OpenFile
	fd   int
}

type epollItem struct {
	epollKey
	ep     *Epoll
	events uint32
	data   uint64
	waiter wait.Waiter
	// Its place in the list of items that may be ready, if linked.
	linked     bool
	next, prev *epollItem
}

// NewEpoll makes an empty list.
func NewEpoll() *Epoll {
	return &Epoll{anonFile: anonFile{kind: "eventpoll"}, items: make(map[epollKey]*epollItem)}
}

// Add is EPOLL_CTL_ADD: o, known as descriptor fd, is watched until it is closed.
func (ep *Epoll) Add(o *OpenFile, fd int, events uint32, data uint64) error {
	if err := ep.check(o); err != nil {
		return err
	}
	below, isEpoll := o.File.(*Epoll)
	if events&unix.EPOLLEXCLUSIVE != 0 && (isEpoll || events&^epollExclusive != 0) {
		return unix.EINVAL
	}
	if isEpoll {
		if depth, loop := below.depth(ep); loop || depth+1+ep.height() > epollNests {
			return unix.ELOOP
		}
	}
	key := epollKey{o, fd}
	if ep.items[key] != nil {
		return unix.EEXIST
	}
	it := &epollItem{epollKey: key, ep: ep, data: data}
	it.waiter.Wake = it.woken
	ep.items[key] = it
	o.watches = append(o.watches, it)
	if isEpoll {
		below.above = append(below.above, ep)
	}
	it.arm(events)
	return nil
}

// Modify is EPOLL_CTL_MOD.
func (ep *Epoll) Modify(o *OpenFile, fd int, events uint32, data uint64) error {
	if err := ep.check(o); err != nil {
		return err
	}
	if events&unix.EPOLLEXCLUSIVE != 0 {
		return unix.EINVAL
	}
	it := ep.items[epollKey{o, fd}]
	switch {
	case it == nil:
		return unix.ENOENT
	case it.events&unix.EPOLLEXCLUSIVE != 0:
		return unix.EINVAL
	}
	it.data = data
	it.file.File.Queue().Remove(&it.waiter)
	it.arm(events)
	return nil
}

// Delete is EPOLL_CTL_DEL.
func (ep *Epoll) Delete(o *OpenFile, fd int) error {
	if err := ep.check(o); err != nil {
		return err
	}
	it := ep.items[epollKey{o, fd}]
	if it == nil {
		return unix.ENOENT
	}
	it.remove()
	return nil
}

// check refuses what cannot be watched: files that are always ready, and ep
// itself.
func (ep *Epoll) check(o *OpenFile) error {
	switch {
	case o.File.Queue() == nil:
		return unix.EPERM
	case o.File == File(ep):
		return unix.EINVAL
	}
	return nil
}

// depth is how many epoll descriptors are in the longest chain below ep; loop
// says that one of them is top.
func (ep *Epoll) depth(top *Epoll) (depth int, loop bool) {
	if ep == top {
		return 0, true
	}
	for key := range ep.items {
		if below, ok := key.file.File.(*Epoll); ok {
			d, loop := below.depth(top)
			if loop {
				return 0, true
			}
			depth = max(depth, d+1)
		}
	}
	return depth, false
}

// height is the longest chain above ep.
func (ep *Epoll) height() (h int) {
	for _, up := range ep.above {
		h = max(h, up.height()+1)
	}
	return h
}

// ready is what the item would be reported with now.
func (it *epollItem) ready() uint32 { return uint32(uint16(it.file.File.Ready())) & it.events }

// arm has the item wait for events, which may be there already.
func (it *epollItem) arm(events uint32) {
	it.events = events | unix.EPOLLERR | unix.EPOLLHUP
	it.waiter.Events = it.events &^ epollPrivate
	it.file.File.Queue().Add(&it.waiter)
	if it.ready() != 0 {
		it.woken()
	}
}

// woken is called when the file may have become ready.
func (it *epollItem) woken() {
	if it.events&^epollPrivate == 0 {
		return // a EPOLLONESHOT item that has had its shot
	}
	it.link()
	it.ep.queue.WakeFor(readable)
}

func (it *epollItem) link() {
	if it.linked {
		return
	}
	ep := it.ep
	it.linked, it.prev, it.next = true, ep.tail, nil
	if ep.tail != nil {
		ep.tail.next = it
	} else {
		ep.head = it
	}
	ep.tail = it
}

func (it *epollItem) unlink() {
	if !it.linked {
		return
	}
	ep := it.ep
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		ep.head = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		ep.tail = it.prev
	}
	it.linked, it.next, it.prev = false, nil, nil
}

// remove takes the item off everything.
func (it *epollItem) remove() {
	it.unlink()
	it.file.File.Queue().Remove(&it.waiter)
	delete(it.ep.items, it.epollKey)
	it.file.watches = slices.DeleteFunc(it.file.watches, func(o *epollItem) bool { return o == it })
	if below, ok := it.file.File.(*Epoll); ok {
		i := slices.Index(below.above, it.ep)
		below.above = slices.Delete(below.above, i, i+1)
	}
}

// Collect reports up to limit ready items through emit; it ends early if emit
// returns false, and that item counts as not reported.
func (ep *Epoll) Collect(limit int, emit func(events uint32, data uint64) bool) {
	last := ep.tail
	for n := 0; n < limit && ep.head != nil; {
		it := ep.head
		end := it == last
		got := it.ready()
		if got != 0 && !emit(got, it.data) {
			return
		}
		it.unlink()
		if got != 0 {
			n++
			switch {
			case it.events&unix.EPOLLONESHOT != 0:
				it.events &= epollPrivate
			case it.events&unix.EPOLLET == 0:
				it.link()
			}
		}
		if end {
			return
		}
	}
}

// Ready implements File: an epoll descriptor is readable if an item is ready.
func (ep *Epoll) Ready() int16 {
	for it := ep.head; it != nil; {
		if it.ready() != 0 {
			return readable
		}
		next := it.next
		it.unlink()
		it = next
	}
	return 0
}

// Queue implements File.
func (ep *Epoll) Queue() *wait.Queue { return &ep.queue }

// Close implements File.
func (ep *Epoll) Close() error {
	for _, it := range ep.items {
		it.remove()
	}
	return nil
}

// unwatch takes a file that is about to be closed off all interest lists.
func (o *OpenFile) unwatch() {
	for len(o.watches) > 0 {
		o.watches[len(o.watches)-1].remove()
	}
}
