package mm

import "goskas/arch"

// Four levels of 512 entries cover 48 bits of address, as on amd64.
const (
	levelBits = 9
	perNode   = 1 << levelBits
	levels    = 4
)

// node is an inner table.
type node struct {
	kids [perNode]*node
	leaf *leaf // of the lowest level only
}

// leaf is a lowest-level table. count is the number of entries that are not
// zero, so that an empty leaf is found without looking at it.
type leaf struct {
	ptes [perNode]PTE
	live int
}

func index(a arch.Addr, level int) int {
	return int(a>>(arch.PageShift+levelBits*level)) & (perNode - 1)
}

// leafSpan is the range that one leaf covers.
const leafSpan = arch.PageSize * perNode

// lookup returns a's entry, or nil if there is no table for it.
func (t *Table) lookup(a arch.Addr) *PTE {
	l := t.leafAt(a)
	if l == nil {
		return nil
	}
	return &l.ptes[index(a, 0)]
}

func (t *Table) leafAt(a arch.Addr) *leaf {
	if key := a / leafSpan; t.lastLeaf != nil && t.lastKey == key {
		return t.lastLeaf
	}
	n := &t.root
	for level := levels - 1; level > 0; level-- {
		if n = n.kids[index(a, level)]; n == nil {
			return nil
		}
	}
	t.lastLeaf, t.lastKey = n.leaf, a/leafSpan
	return n.leaf
}

// leafFor is leafAt that makes the tables on the way.
func (t *Table) leafFor(a arch.Addr) *leaf {
	if l := t.leafAt(a); l != nil {
		return l
	}
	if t.leaves >= t.pruneAt {
		t.root.prune(levels-1, &t.leaves)
		t.pruneAt = max(minLeaves, 2*t.leaves)
	}
	n := &t.root
	for level := levels - 1; level > 0; level-- {
		kid := n.kids[index(a, level)]
		if kid == nil {
			kid = new(node)
			if level == 1 {
				kid.leaf = new(leaf)
				t.leaves++
			}
			n.kids[index(a, level)] = kid
		}
		n = kid
	}
	t.lastLeaf, t.lastKey = n.leaf, a/leafSpan
	return n.leaf
}

// minLeaves is how many lowest-level tables may be there, used or not, before
// prune looks at them: 64 MiB of guest memory in runs, some 150 KiB of ours.
const minLeaves = 32

// prune cuts off the tables below n that have no entry and reports whether n
// has become empty itself. Whoever walks a table that is cut off (see each) sees
// it empty, as it is.
func (n *node) prune(level int, leaves *int) (empty bool) {
	if level == 0 {
		if n.leaf.live == 0 {
			*leaves--
		}
		return n.leaf.live == 0
	}
	empty = true
	for i, kid := range n.kids {
		switch {
		case kid == nil:
		case kid.prune(level-1, leaves):
			n.kids[i] = nil
		default:
			empty = false
		}
	}
	return empty
}

// set stores an entry and keeps the counts.
func (l *leaf) set(i int, p PTE) {
	old := l.ptes[i]
	l.ptes[i] = p
	switch {
	case old == 0 && p != 0:
		l.live++
	case old != 0 && p == 0:
		l.live--
	}
}

// each calls fn for every entry in [start, end) that is not zero, in order, and
// skips what has no tables. fn may change the entry through set; it returns
// false to stop.
func (t *Table) each(start, end arch.Addr, fn func(a arch.Addr, l *leaf, i int) bool) {
	if start < end {
		t.root.each(levels-1, 0, start, end, fn)
	}
}

func (n *node) each(level int, base, start, end arch.Addr, fn func(arch.Addr, *leaf, int) bool) bool {
	span := arch.Addr(arch.PageSize) << (levelBits * level)
	first, last := 0, perNode-1
	if start > base {
		first = int((start - base) / span)
	}
	if end-base < span*perNode {
		last = int((end - base - 1) / span)
	}
	if level == 0 {
		l := n.leaf
		for i := first; i <= last && l.live > 0; i++ {
			if l.ptes[i] != 0 && !fn(base+arch.Addr(i)*arch.PageSize, l, i) {
				return false
			}
		}
		return true
	}
	for i := first; i <= last; i++ {
		kid := n.kids[i]
		if kid == nil {
			continue
		}
		if !kid.each(level-1, base+arch.Addr(i)*span, start, end, fn) {
			return false
		}
	}
	return true
}
