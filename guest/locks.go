package guest

import (
	"math"
	"slices"

	"goskas/guest/vfs"
	"goskas/guest/wait"
)

// fileID is the file that locks are for.
type fileID struct{ dev, ino uint64 }

// rangeLock is a lock of part of a file. Its owner is a *Files for the locks of
// POSIX and a *vfs.OpenFile for those of an open file description.
type rangeLock struct {
	start, end int64 // the bytes [start, end]
	write      bool
	owner      any
	pid        int // who took it
}

func (l *rangeLock) overlaps(m *rangeLock) bool { return l.start <= m.end && m.start <= l.end }

func (l *rangeLock) conflicts(m *rangeLock) bool {
	return l.owner != m.owner && (l.write || m.write) && l.overlaps(m)
}

// fileLocks are the locks of one file: of ranges, and of the whole file by flock,
// which do not see each other.
type fileLocks struct {
	ranges []rangeLock // of each owner in a row, in order and apart
	whole  []rangeLock
	freed  wait.Queue // woken when a lock is given up
}

// locksOf are the locks of an open file, made if need be.
func (k *Kernel) locksOf(f *vfs.OpenFile) (*fileLocks, error) {
	st, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	id := fileID{st.Dev, st.Ino}
	l := k.locks[id]
	if l == nil {
		l = new(fileLocks)
		k.locks[id] = l
	}
	return l, nil
}

// conflict finds a lock in the way of want.
func conflict(list []rangeLock, want *rangeLock) *rangeLock {
	for i := range list {
		if want.conflicts(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// without is list less what an owner has in [start, end].
func without(list []rangeLock, owner any, start, end int64) []rangeLock {
	var kept []rangeLock
	for _, l := range list {
		if l.owner != owner || l.end < start || l.start > end {
			kept = append(kept, l)
			continue
		}
		if l.start < start {
			head := l
			head.end = start - 1
			kept = append(kept, head)
		}
		if l.end > end {
			tail := l
			tail.start = end + 1
			kept = append(kept, tail)
		}
	}
	return kept
}

// add puts a lock in the place of what its owner has there, and joins it with
// others that it touches.
func add(list []rangeLock, want rangeLock) []rangeLock {
	// The owner's are in a row, which stays where it is.
	i := slices.IndexFunc(list, func(l rangeLock) bool { return l.owner == want.owner })
	list = without(list, want.owner, want.start, want.end)
	list = slices.DeleteFunc(list, func(l rangeLock) bool {
		touches := l.owner == want.owner && l.write == want.write &&
			(l.end != math.MaxInt64 && l.end+1 == want.start || want.end != math.MaxInt64 && want.end+1 == l.start)
		if touches {
			want.start, want.end = min(want.start, l.start), max(want.end, l.end)
		}
		return touches
	})
	if i < 0 {
		i = len(list)
	}
	for i < len(list) && list[i].owner == want.owner && list[i].start < want.start {
		i++
	}
	return slices.Insert(list, i, want)
}

// unlock gives up what an owner has of a range.
func (l *fileLocks) unlock(owner any, start, end int64) {
	l.ranges = without(l.ranges, owner, start, end)
	l.freed.Wake()
}

// dropLocks forgets what an owner has locked of a file.
func (k *Kernel) dropLocks(f *vfs.OpenFile, owner any) {
	if len(k.locks) == 0 {
		return
	}
	st, err := f.File.Stat()
	if err != nil {
		return
	}
	id := fileID{st.Dev, st.Ino}
	l := k.locks[id]
	if l == nil {
		return
	}
	l.whole = without(l.whole, owner, 0, math.MaxInt64)
	l.unlock(owner, 0, math.MaxInt64)
	if len(l.ranges) == 0 && len(l.whole) == 0 && l.freed.Empty() {
		delete(k.locks, id)
	}
}

// waitsFor reports whether one owner waits for another, through any number of
// others.
func (k *Kernel) waitsFor(owner, other any) bool {
	for range len(k.lockWaits) {
		next, ok := k.lockWaits[owner]
		if !ok {
			return false
		}
		if next == other {
			return true
		}
		owner = next
	}
	return false
}
