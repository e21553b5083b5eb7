package containment

import (
	"fmt"

	"goskas/arch"
	"goskas/guard"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
)

// protocol is what a program has to know of the stub that it runs in.
type protocol struct {
	layout arch.StubLayout
	sites  map[string]arch.Addr // the stub's system call instructions
	// missing says of a site why there is none.
	missing map[string]string
	// word and signal are the handshake word and the reported signal.
	word, signal arch.Addr
	// fd is the descriptor of guest memory; -1 if it has to be received.
	fd int64
	// stack is the signal stack.
	stack     arch.Addr
	stackSize int64
}

// Names of sites.
const (
	siteWake      = "wake"
	siteWait      = "wait"
	siteReceive   = "receive"
	siteMmap      = "mmap"
	siteMunmap    = "munmap"
	siteClose     = "close"
	siteSigreturn = "sigreturn"
	// sitePosted is none: the place at which UML's protocol runs a batch.
	sitePosted = "batch"
	// sitePages is none: stub pages that are guest memory.
	sitePages = "pages"
)

// postedSites are the labels before the instructions, by site.
var postedSites = map[string]string{
	siteWake: "wake", siteWait: "wait", siteReceive: "receive", siteMmap: "mmap", siteMunmap: "munmap",
	siteClose: "close", siteSigreturn: "restorer",
}

func postedProtocol(a arch.Arch, l arch.StubLayout) (*protocol, error) {
	stub, err := a.Stub(l, false)
	if err != nil {
		return nil, err
	}
	p := &protocol{
		layout: l, sites: make(map[string]arch.Addr), fd: -1,
		word: l.Data + stubabi.OffFutex, signal: l.Data + stubabi.OffSignal,
		stack: l.Data + arch.PageSize, stackSize: int64(l.DataPages-1) * arch.PageSize,
	}
	for site, label := range postedSites {
		off, err := callBehind(stub, label)
		if err != nil {
			return nil, err
		}
		p.sites[site] = l.Code + arch.Addr(off)
	}
	for _, label := range stub.Labels {
		if label.Name == "woken" {
			p.sites[sitePosted] = l.Code + arch.Addr(label.Offset)
		}
	}
	return p, nil
}

// callBehind is the offset of the first system call instruction behind a label.
func callBehind(s *arch.Stub, label string) (uint64, error) {
	for _, l := range s.Labels {
		if l.Name != label {
			continue
		}
		for off := l.Offset; off < uint64(len(s.Code)); {
			inst, err := x86asm.Decode(s.Code[off:], 64)
			if err != nil {
				return 0, fmt.Errorf("stub code at offset %#x: %w", off, err)
			}
			if inst.Op == x86asm.SYSCALL {
				return off, nil
			}
			off += uint64(inst.Len)
		}
	}
	return 0, fmt.Errorf("the stub has no system call behind label %q", label)
}

// newProtocol describes the stubs of a monitor.
func newProtocol(a arch.Arch, m *skas.Monitor, g guard.Guard) (*protocol, error) {
	if g.Sealed {
		return nil, fmt.Errorf("no programs for guard %v yet", g)
	}
	return postedProtocol(a, m.Layout())
}
