package containment

import (
	"fmt"

	"goskas/arch"
	"goskas/guard"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// protocol is what a program has to know of the stub that it runs in.
type protocol struct {
	layout arch.StubLayout
	sites  map[string]arch.Addr // the stub's system call instructions
	// code are the labels of the stub's code, offsets.
	code map[string]arch.Addr
	// missing says of a site why there is none.
	missing map[string]string
	// word and signal are the handshake word and the reported signal.
	word, signal arch.Addr
	// kind is the kind of report, and frame the place of the registers in the
	// signal frame, of a sealed stub; in UML's protocol the report has their
	// place.
	sealed      bool
	kind, frame arch.Addr
	// stubSP is the sealed stub's stack pointer: where the frame of a signal
	// that stopped guest code lies. nested is where it may be when a signal
	// stops stub code.
	stubSP arch.Addr
	nested []arch.Addr
	// fd is the descriptor of guest memory; -1 if it has to be received.
	fd int64
	// flags are those of the stub's mmap.
	flags int64
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
	// siteCheck is the mapping call behind which the stub checks it.
	siteCheck = "check"
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

func postedProtocol(in skas.Inspection) (*protocol, error) {
	l, stub := in.Layout, in.Stub
	p := &protocol{
		layout: l, code: labels(stub), sites: make(map[string]arch.Addr), fd: -1, flags: unix.MAP_SHARED | unix.MAP_FIXED,
		word: l.Data + stubabi.OffFutex, signal: l.Data + stubabi.OffSignal,
		missing: map[string]string{siteCheck: "nothing is checked behind the call"},
		stack:   l.Data + arch.PageSize, stackSize: int64(l.DataPages-1) * arch.PageSize,
	}
	for site, label := range postedSites {
		off, err := callBehind(stub, label)
		if err != nil {
			return nil, err
		}
		p.sites[site] = l.Code + arch.Addr(off)
	}
	p.sites[sitePosted] = l.Code + p.code["woken"]
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

// sealedSites are the labels of the instructions themselves, by site. The sealed
// stub has no rt_sigreturn: its number is tried at the wake.
var sealedSites = map[string]string{
	siteWake: "site-wake", siteWait: "site-wait", siteMmap: "site-mmap", siteMunmap: "site-munmap",
	siteSigreturn: "site-wake", siteCheck: "site-mmap",
}

// belowFresh is how far below the frame the stub has what it returns with.
const belowFresh = 64

func sealedProtocol(in skas.Inspection) (*protocol, error) {
	l := in.Layout
	p := &protocol{
		layout: l, code: labels(in.Stub), sites: make(map[string]arch.Addr), fd: stubabi.SealedMemFD, flags: stubabi.SealedMapFlags, sealed: true,
		word: l.Data + stubabi.OffSealedFutex, signal: l.Data + stubabi.OffSealedSignal,
		kind: l.Data + stubabi.OffSealedReport, frame: in.Stub.Sealed.MContext,
		stack: l.Stack, stackSize: int64(l.StackPages) * arch.PageSize,
		missing: map[string]string{
			siteReceive: "the sealed stub receives nothing",
			siteClose:   "the sealed stub closes nothing",
			sitePages:   "the sealed stub's pages are not guest memory",
			sitePosted:  "the sealed stub reports no such thing",
		},
	}
	p.stubSP = in.Stub.Sealed.Return + belowFresh
	for _, l := range in.Stub.Labels {
		var at arch.Addr
		if n, _ := fmt.Sscanf(l.Name, "nested-%x", &at); n == 1 {
			p.nested = append(p.nested, at)
		}
	}
	for site, label := range sealedSites {
		off, ok := in.Stub.Label(label)
		if !ok {
			return nil, fmt.Errorf("the sealed stub has no label %q", label)
		}
		p.sites[site] = l.Code + arch.Addr(off)
	}
	return p, nil
}

// newProtocol describes the stubs of a guard.
func newProtocol(a arch.Arch, g guard.Guard) (*protocol, error) {
	in, err := skas.Inspect(a, g)
	if err != nil {
		return nil, err
	}
	if g.Sealed {
		return sealedProtocol(in)
	}
	return postedProtocol(in)
}

func labels(s *arch.Stub) map[string]arch.Addr {
	m := make(map[string]arch.Addr)
	for _, l := range s.Labels {
		m[l.Name] = arch.Addr(l.Offset)
	}
	return m
}
