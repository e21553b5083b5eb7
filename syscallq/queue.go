package syscallq

import (
	"fmt"

	"goskas/arch"
	"goskas/physmem"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Backing tells which descriptor and offset hold a frame; *physmem.Memory
// does.
type Backing interface {
	PhysMapping(pfn physmem.PFN) (fd int, offset int64)
}

// Error is the failure of one call of a batch.
type Error struct {
	Index int // which entry
	Entry stubabi.Entry
	Errno unix.Errno
}

func (e *Error) Error() string {
	return fmt.Sprintf("batch entry %d: %v of %#x bytes at %#x: %v",
		e.Index, e.Entry.Kind, e.Entry.Length, e.Entry.Addr, e.Errno)
}

func (e *Error) Unwrap() error { return e.Errno }

// Stats counts what a queue did.
type Stats struct {
	Batches uint64 // batches run, on their own or with a resume
	Flushes uint64 // of these, run on their own because the queue was full or asked to
	Entries uint64 // entries run
	Merged  uint64 // calls that extended an entry instead of making one
	MaxLen  uint64 // longest batch
}

// Add adds another queue's counts.
func (s *Stats) Add(o Stats) {
	s.Batches += o.Batches
	s.Flushes += o.Flushes
	s.Entries += o.Entries
	s.Merged += o.Merged
	s.MaxLen = max(s.MaxLen, o.MaxLen)
}

// Limits are what one batch of a stub can hold.
type Limits struct {
	Entries int    // in a batch
	Length  uint64 // bytes in an entry, a multiple of the page size
}

// Queue is one mm's batch. Its zero value is not usable; call New.
type Queue struct {
	backing Backing
	run     func() error
	length  uint64

	own  []stubabi.Entry // of the batch so far; the capacity is the limit
	fds  [stubabi.MaxFDs]int
	nfds int
	err  error

	stats Stats
}

// New makes an empty queue. run has to publish the batch, have the stub run it
// and wait until that is done; it calls Done with the outcome.
func New(limits Limits, backing Backing, run func() error) *Queue {
	return &Queue{backing: backing, run: run, length: limits.Length,
		own: make([]stubabi.Entry, 0, limits.Entries)}
}

// Map queues a shared mapping of frames from pfn on at [a, a+length).
func (q *Queue) Map(a arch.Addr, length uint64, acc arch.Access, pfn physmem.PFN) error {
	fd, offset := q.backing.PhysMapping(pfn)
	slot, err := q.slot(fd)
	if err != nil {
		return err
	}
	if last := q.last(); last != nil && last.Kind == stubabi.Mmap && last.Slot == slot &&
		last.Prot == int32(acc) && last.Addr+last.Length == uint64(a) &&
		last.Offset+last.Length == uint64(offset) && last.Length+length <= q.length {
		return q.extend(last, length)
	}
	return q.add(stubabi.Entry{Kind: stubabi.Mmap, Addr: uint64(a), Length: length,
		Offset: uint64(offset), Slot: slot, Prot: int32(acc)}, fd)
}

// Unmap queues the removal of whatever the stub has at [a, a+length).
func (q *Queue) Unmap(a arch.Addr, length uint64) error {
	if q.err != nil {
		return q.err
	}
	if last := q.last(); last != nil && last.Kind == stubabi.Munmap && last.Addr+last.Length == uint64(a) &&
		last.Length+length <= q.length {
		return q.extend(last, length)
	}
	return q.add(stubabi.Entry{Kind: stubabi.Munmap, Addr: uint64(a), Length: length}, -1)
}

func (q *Queue) last() *stubabi.Entry {
	if len(q.own) == 0 {
		return nil
	}
	return &q.own[len(q.own)-1]
}

func (q *Queue) extend(last *stubabi.Entry, length uint64) error {
	last.Length += length
	q.stats.Merged++
	return nil
}

// slot finds or takes the descriptor's place among those of the batch.
func (q *Queue) slot(fd int) (int32, error) {
	if q.err != nil {
		return 0, q.err
	}
	for i, have := range q.fds[:q.nfds] {
		if have == fd {
			return int32(i), nil
		}
	}
	if q.nfds == len(q.fds) {
		if err := q.flush(); err != nil {
			return 0, err
		}
	}
	q.fds[q.nfds] = fd
	q.nfds++
	return int32(q.nfds - 1), nil
}

// add appends e; fd is its descriptor, to be named again if the queue has to
// be run first.
func (q *Queue) add(e stubabi.Entry, fd int) error {
	if len(q.own) == cap(q.own) {
		if err := q.flush(); err != nil {
			return err
		}
		if fd >= 0 {
			e.Slot, _ = q.slot(fd) // an empty queue has room
		}
	}
	q.own = append(q.own, e)
	return nil
}

// Flush runs the batch on its own and returns the first failure since the last
// Flush.
func (q *Queue) Flush() error {
	if q.err == nil && len(q.own) > 0 {
		q.flush()
	}
	err := q.err
	q.err = nil
	return err
}

func (q *Queue) flush() error {
	q.stats.Flushes++
	if err := q.run(); err != nil {
		q.err = err
	}
	return q.err
}

// Entries is the batch to publish. It is valid until Done.
func (q *Queue) Entries() []stubabi.Entry { return q.own }

// FDs are the descriptors that the batch needs, by slot.
func (q *Queue) FDs() []int { return q.fds[:q.nfds] }

// Drop empties the queue, whose batch has not been run, or need not have been,
// and returns what it was. It is valid until the next entry is made.
func (q *Queue) Drop() []stubabi.Entry {
	batch := q.own
	q.own, q.nfds = q.own[:0], 0
	return batch
}

// Done empties the queue after the stub ran the batch. at and errno are the
// stub's words for the entry that failed: they are untrusted, and only used to
// name the failure.
func (q *Queue) Done(at int32, errno int64) error {
	n := len(q.own)
	if n > 0 {
		q.stats.Batches++
		q.stats.Entries += uint64(n)
		q.stats.MaxLen = max(q.stats.MaxLen, uint64(n))
	}
	batch := q.own
	q.own, q.nfds = q.own[:0], 0
	if errno == 0 {
		return nil
	}
	e := &Error{Index: int(at), Errno: unix.EPROTO}
	if at >= 0 && int(at) < n {
		e.Entry = batch[at]
	}
	if errno < 0 && errno > -4096 {
		e.Errno = unix.Errno(-errno)
	}
	return e
}

// Stats returns the counts so far.
func (q *Queue) Stats() Stats { return q.stats }
