package skas

import (
	"goskas/arch"
	"goskas/guard"
	"goskas/stubexe"

	"golang.org/x/sys/unix"
)

// Inspection is what the stubs of a guard are made of, for people and checks.
type Inspection struct {
	Layout arch.StubLayout
	Stub   *arch.Stub
	Filter string // with its labels
	// Insns is the filter as the kernel gets it, of guard sealed only: what
	// the code is proved against.
	Insns []unix.SockFilter
}

// Inspect assembles a guard's stub without starting one.
func Inspect(a arch.Arch, g guard.Guard) (Inspection, error) {
	var in Inspection
	var err error
	if g.Sealed {
		if in.Layout, err = SealedLayout(a); err != nil {
			return in, err
		}
		if in.Stub, err = a.Sealed(in.Layout); err != nil {
			return in, err
		}
		if in.Insns, err = stubexe.SealedFilter(in.Layout, in.Stub, a.AuditArch()); err != nil {
			return in, err
		}
		in.Filter, err = stubexe.SealedFilterText(in.Layout, in.Stub, a.AuditArch())
		return in, err
	}
	if in.Layout, err = Layout(a); err != nil {
		return in, err
	}
	if in.Stub, err = a.Stub(in.Layout, len(g.Routed) > 0); err != nil {
		return in, err
	}
	in.Filter, err = stubexe.FilterText(in.Layout.Code, a.AuditArch(), g.Routed...)
	return in, err
}
