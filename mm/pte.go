package mm

import (
	"fmt"

	"goskas/arch"
	"goskas/physmem"
)

// PTE is one page's entry: a frame number and flags. Zero is an absent page
// that the host has no mapping for.
type PTE uint64

// The low bits are flags; the access bits have the order of arch.Access.
const (
	ptePresent PTE = 1 << iota
	pteRead
	pteWrite
	pteExec
	// pteYoung and pteDirty let the host's mapping do what rights alone
	// would not: without young the host maps nothing, without dirty nothing
	// writable, so that a first access faults and can be seen.
	pteYoung
	pteDirty
	// pteNeedSync: the host's mapping may differ from this entry.
	pteNeedSync
	// pteCOW: the frame is shared; a write must break that first.
	pteCOW
	// pteHost: the host may have a mapping here, right or stale.
	pteHost
	// pteMoved: the host may have a mapping of the frame that pteHost does not
	// tell of: at the page where it was before a Move.
	pteMoved
	// pteStale: what the host may have here is more than, or other than, what
	// the entry grants: the next Sync takes something away.
	pteStale

	pfnShift    = 12
	accessShift = 1
	pteAccess   = pteRead | pteWrite | pteExec
)

func makePTE(pfn physmem.PFN, acc arch.Access) PTE {
	p := PTE(pfn)<<pfnShift | ptePresent | pteYoung | pteNeedSync | PTE(acc)<<accessShift
	if acc&arch.Write != 0 {
		p |= pteDirty
	}
	return p
}

// Present reports whether there is a frame.
func (p PTE) Present() bool { return p&ptePresent != 0 }

// Access is what the guest may do with the page, copy-on-write apart.
func (p PTE) Access() arch.Access { return arch.Access(p & pteAccess >> accessShift) }

// Young reports whether the page has been accessed.
func (p PTE) Young() bool { return p&pteYoung != 0 }

// Dirty reports whether the page may have been written.
func (p PTE) Dirty() bool { return p&pteDirty != 0 }

// NeedSync reports whether the host's mapping may differ.
func (p PTE) NeedSync() bool { return p&pteNeedSync != 0 }

// COW reports whether the frame is shared until the first write.
func (p PTE) COW() bool { return p&pteCOW != 0 }

// PFN is the frame of a present page.
func (p PTE) PFN() physmem.PFN { return physmem.PFN(p >> pfnShift) }

// Host is what the host may grant: the rights, without those that young, dirty
// and copy-on-write hold back.
func (p PTE) Host() arch.Access {
	if !p.Present() || !p.Young() {
		return 0
	}
	acc := p.Access()
	if !p.Dirty() || p.COW() {
		acc &^= arch.Write
	}
	return acc
}

// over is p in the place of old: what the host had for old is stale by then.
func (p PTE) over(old PTE) PTE {
	p &^= pteHost | pteStale
	if old&pteHost != 0 {
		p |= pteHost | pteStale
	}
	return p
}

// after is p, which was old, with what the host has of it: stale if p lets it
// have less.
func (p PTE) after(old PTE) PTE {
	if old.Host()&^p.Host() != 0 {
		p |= pteStale
	}
	return p
}

func (p PTE) withAccess(acc arch.Access) PTE { return p&^pteAccess | PTE(acc)<<accessShift }

func (p PTE) String() string {
	if !p.Present() {
		return "absent"
	}
	return fmt.Sprintf("frame %d %v", p.PFN(), p.Access())
}
