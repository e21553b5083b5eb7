package guard

import (
	"fmt"
	"strings"

	"goskas/arch"
	"goskas/internal/probe"
	"goskas/physmem"
	"goskas/stubexe/stubabi"
)

// Guard is one answer to the question who decides whether a mapping call of a
// stub is legitimate. The zero value stands for Default.
type Guard struct {
	name string
	// Sealed: stubs that run the sealed code under the sealed filter.
	Sealed bool
	// Routed are the calls that the filter sends to the monitor, which asks
	// Check before it lets them go on.
	Routed []stubabi.Kind
	// Check says why a routed call must not be made; "" lets it through.
	Check func(c Call, p Pages) (reason string)
	// Needs are the host's features without which the guard does not work.
	Needs []probe.Feature
	// Wants are those without which it is slower.
	Wants []probe.Feature
}

// Call is a mapping call that a stub has made and that has not happened yet.
// The arguments are the stub's: nothing about them can be relied on.
type Call struct {
	Kind   stubabi.Kind
	Addr   uint64
	Length uint64
	Prot   uint64 // mmap only, as are the rest
	Flags  uint64
	Offset uint64
}

// Pages is what a guard may ask about an mm: *mm.Table answers.
type Pages interface {
	// End is the end of guest space.
	End() arch.Addr
	// Grants reports whether the page at a maps exactly the frame and lets
	// the host grant at least acc.
	Grants(a arch.Addr, pfn physmem.PFN, acc arch.Access) bool
}

func (g Guard) String() string { return g.Chosen().name }

// Chosen is g, or the default if g is the zero value.
func (g Guard) Chosen() Guard {
	if g.name == "" {
		return Sealed
	}
	return g
}

// IsZero says that nobody has chosen a guard.
func (g Guard) IsZero() bool { return g.name == "" }

// Default is the guard of those who do not choose.
func Default() Guard { return Guard{}.Chosen() }

// The guards.
var (
	// None decides nothing: UML 7.2 as it is.
	None = Guard{name: "none"}
	// Notify has every mmap pass through the monitor, which lets it go on
	// (seed series, patches 1 and 2).
	Notify = Guard{name: "notify", Routed: []stubabi.Kind{stubabi.Mmap}, Check: allow,
		Needs: listening, Wants: handingOver}
	// Validate holds mmap against the page table and munmap against the end
	// of guest space (seed series, patches 3 to 5).
	Validate = Guard{name: "validate", Routed: []stubabi.Kind{stubabi.Mmap, stubabi.Munmap}, Check: validate,
		Needs: listening, Wants: handingOver}
	// Sealed leaves the decision to filter and stub code.
	Sealed = Guard{name: "sealed", Sealed: true,
		Needs: []probe.Feature{probe.XSave}}
)

// What a guard with a listener needs, and what makes it faster.
var (
	listening   = []probe.Feature{probe.UserNotif, probe.SeccompTSyncListener, probe.PidfdGetfd}
	handingOver = []probe.Feature{probe.UserNotifSyncWakeUp}
)

// All lists the guards that can be chosen, from the weakest to the strongest.
func All() []Guard { return []Guard{None, Notify, Validate, Sealed} }

// Names lists the guards' names in the order of All.
func Names() []string {
	var names []string
	for _, g := range All() {
		names = append(names, g.name)
	}
	return names
}

// Parse finds a guard by name.
func Parse(name string) (Guard, error) {
	for _, g := range All() {
		if g.name == name {
			return g, nil
		}
	}
	return Guard{}, fmt.Errorf("no guard %q: give %s", name, strings.Join(Names(), ", "))
}
