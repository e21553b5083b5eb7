package vfs

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

// anonFile is a file without a place in the tree: an anonymous inode, as Linux
// calls it.
type anonFile struct {
	NoFile
	kind string
}

// anonMode is what fstat tells of an anonymous inode: it has no type.
const anonMode = 0o600

func (f *anonFile) Stat() (Stat, error) { return AnonStat(), nil }

// AnonStat is what fstat tells of every anonymous inode.
func AnonStat() Stat {
	st := dynamicStat(anonIno, anonMode)
	st.Dev += 2
	return st
}

// anonIno is the one inode that all such files share.
const anonIno = 1

// LinkName is the target of the file's link in /proc/pid/fd.
func (f *anonFile) LinkName() string { return "anon_inode:[" + f.kind + "]" }

// Whole says that one call moves one message, so that the rest of a longer
// buffer is not for a second one.
func (f *anonFile) Whole() {}

// SeekNowhere says that lseek does nothing and does not fail.
func (f *anonFile) SeekNowhere() {}

// Eventfd is a counter of eventfd(2).
type Eventfd struct {
	anonFile
	count     uint64
	semaphore bool
	queue     wait.Queue
}

// NewEventfd makes a counter; reading a semaphore takes 1, reading any other
// takes all.
func NewEventfd(count uint64, semaphore bool) *Eventfd {
	return &Eventfd{anonFile: anonFile{kind: "eventfd"}, count: count, semaphore: semaphore}
}

// counterSize is what a read or write of a counter moves.
const counterSize = 8

// Read takes the count, or 1 of it.
func (f *Eventfd) Read(p []byte) (int, error) {
	if len(p) < counterSize {
		return 0, unix.EINVAL
	}
	if f.count == 0 {
		return 0, unix.EAGAIN
	}
	n := f.count
	if f.semaphore {
		n = 1
	}
	f.count -= n
	binary.NativeEndian.PutUint64(p, n)
	f.queue.WakeFor(writable)
	return counterSize, nil
}

// Write adds to the count, which never reaches the largest number.
func (f *Eventfd) Write(p []byte) (int, error) {
	if len(p) != counterSize {
		return 0, unix.EINVAL
	}
	n := binary.NativeEndian.Uint64(p)
	switch {
	case n == math.MaxUint64:
		return 0, unix.EINVAL
	case n >= math.MaxUint64-f.count:
		return 0, unix.EAGAIN
	}
	f.count += n
	f.queue.WakeFor(readable)
	return counterSize, nil
}

// Ready implements File.
func (f *Eventfd) Ready() (ev int16) {
	if f.count > 0 {
		ev |= readable
	}
	if f.count < math.MaxUint64-1 {
		ev |= writable
	}
	return ev
}

// FDInfo is what /proc/pid/fdinfo has beside the usual.
func (f *Eventfd) FDInfo() string { return fmt.Sprintf("eventfd-count: %16x\n", f.count) }

// Queue implements File.
func (f *Eventfd) Queue() *wait.Queue { return &f.queue }
