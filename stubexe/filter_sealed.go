package stubexe

import (
	"fmt"
	"slices"

	"goskas/arch"
	"goskas/internal/abi"
	"goskas/internal/bpf"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// futex operations of the sealed stub's two sites (linux/futex.h).
const (
	futexWait = 0
	futexWake = 1
)

// site is one system call instruction of the sealed stub: its name in the code,
// the call's number, and the arguments that are fixed.
type site struct {
	name  string
	nr    uint32
	rules func(b *bpf.Builder, l arch.StubLayout, deny string)
}

// sealedSites are all calls that a sealed stub may make. The order is that of
// how often they are made.
var sealedSites = []site{
	{"wake", unix.SYS_FUTEX, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), uint64(l.Data)+stubabi.OffSealedFutex, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), futexWake, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(2), 1, bpf.Next, deny)
	}},
	{"wait", unix.SYS_FUTEX, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), uint64(l.Data)+stubabi.OffSealedFutex, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), futexWait, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(2), uint64(stubabi.InKern), bpf.Next, deny)
		// No timeout: a timed wait would come back as restart_syscall.
		b.JumpEqual(bpf.Arg(3), 0, bpf.Next, deny)
	}},
	{"mmap", unix.SYS_MMAP, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		sealedRange(b, deny)
		b.JumpBelow(bpf.Arg(2), (unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)+1, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(3), stubabi.SealedMapFlags, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(4), stubabi.SealedMemFD, bpf.Next, deny)
	}},
	{"munmap", unix.SYS_MUNMAP, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		sealedRange(b, deny)
	}},
}

// baseSites are there on hosts that let user code set no segment bases. A base
// concerns nobody but the stub itself, so its value is free.
var baseSites = []site{
	{"set-fs", unix.SYS_ARCH_PRCTL, func(b *bpf.Builder, _ arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), abi.ARCH_SET_FS, bpf.Next, deny)
	}},
	{"set-gs", unix.SYS_ARCH_PRCTL, func(b *bpf.Builder, _ arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), abi.ARCH_SET_GS, bpf.Next, deny)
	}},
}

// templateSites are the calls of the template's page, which is there in the
// template, and in a stub until that has made them. In a stub the page is gone
// before any guest code runs, and no mapping call reaches its place.
var templateSites = []site{
	{"clone", unix.SYS_CLONE, func(b *bpf.Builder, _ arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), stubabi.TemplateCloneFlags, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), 0, bpf.Next, deny)
	}},
	{"pdeathsig", unix.SYS_PRCTL, func(b *bpf.Builder, _ arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), unix.PR_SET_PDEATHSIG, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), uint64(unix.SIGKILL), bpf.Next, deny)
	}},
	{"getppid", unix.SYS_GETPPID, func(*bpf.Builder, arch.StubLayout, string) {}},
	{"map-control", unix.SYS_MMAP, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		ownPages(b, deny, l.Control, 1, unix.PROT_READ, stubabi.SealedReadFD)
	}},
	{"map-data", unix.SYS_MMAP, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		ownPages(b, deny, l.Data, 1+l.StackPages, unix.PROT_READ|unix.PROT_WRITE, stubabi.SealedWriteFD)
	}},
	{"close", unix.SYS_CLOSE_RANGE, func(b *bpf.Builder, _ arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), stubabi.SealedMemFD+1, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), 0xffffffff, bpf.Next, deny)
		b.JumpEqual(bpf.Arg(2), 0, bpf.Next, deny)
	}},
	{"leave", unix.SYS_MUNMAP, func(b *bpf.Builder, l arch.StubLayout, deny string) {
		b.JumpEqual(bpf.Arg(0), uint64(l.Template()), bpf.Next, deny)
		b.JumpEqual(bpf.Arg(1), arch.PageSize, bpf.Next, deny)
	}},
	{"exit", unix.SYS_EXIT, func(*bpf.Builder, arch.StubLayout, string) {}},
}

// ownPages pins all of an mmap but the offset, which is the monitor's.
func ownPages(b *bpf.Builder, deny string, at arch.Addr, pages int, prot, fd uint64) {
	for i, v := range []uint64{uint64(at), uint64(pages) * arch.PageSize, prot, unix.MAP_SHARED | unix.MAP_FIXED, fd} {
		b.JumpEqual(bpf.Arg(i), v, bpf.Next, deny)
	}
}

// sealedRange keeps a mapping call below the end of guest space, which lies
// more than the longest length below the stub's pages.
func sealedRange(b *bpf.Builder, deny string) {
	b.JumpBelow(bpf.Arg(0), SealedGuestEnd, bpf.Next, deny)
	b.JumpBelow(bpf.Arg(1), stubabi.MaxSealedLength+1, bpf.Next, deny)
}

// SealedGuestEnd is the end of guest space under guard sealed: the last
// multiple of 4 GiB that keeps more than MaxSealedLength between itself and
// the stub's pages, so that the filter has to look at one half of an address.
const SealedGuestEnd = 0x7fff_0000_0000

// SealedFilter is the seccomp filter of sealed stubs. Each call is allowed at
// the one instruction that the stub makes it with, with the arguments that it
// makes it with; every other call from the stub's code page kills, and every
// call from outside traps, whatever its architecture. The sites of the template
// are outside, in a page that no guest code ever shares an address space with.
func SealedFilter(l arch.StubLayout, s *arch.Stub, audit uint32) ([]unix.SockFilter, error) {
	p, err := sealedProgram(l, s, audit)
	if err != nil {
		return nil, err
	}
	return p.Insns, nil
}

// SealedFilterText is the filter for people.
func SealedFilterText(l arch.StubLayout, s *arch.Stub, audit uint32) (string, error) {
	p, err := sealedProgram(l, s, audit)
	if err != nil {
		return "", err
	}
	return p.Text(), nil
}

func sealedProgram(l arch.StubLayout, s *arch.Stub, audit uint32) (*bpf.Program, error) {
	if l.Code.PageOffset() != 0 {
		return nil, fmt.Errorf("stub code at %#x is not at a page", uint64(l.Code))
	}
	if SealedGuestEnd+stubabi.MaxSealedLength > uint64(l.Template()) {
		return nil, fmt.Errorf("stub code at %#x is too near to the end of guest space", uint64(l.Code))
	}
	const page = ^uint32(arch.PageSize - 1)
	if uint64(l.Code)>>32 != uint64(l.Template())>>32 {
		return nil, fmt.Errorf("stub code at %#x is at the start of 4 GiB", uint64(l.Code))
	}
	b := bpf.New()
	b.Load(bpf.IP.Hi())
	b.Jump(bpf.Eq, uint32(l.Code>>32), bpf.Next, "outside")
	b.Load(bpf.IP.Lo())
	b.And(page)
	b.Jump(bpf.Eq, uint32(l.Code), "inside", bpf.Next)
	b.Jump(bpf.Eq, uint32(l.Template()), "template", bpf.Next)
	b.Label("outside")
	b.Ret(bpf.Trap)

	b.Label("inside")
	b.Load(bpf.Arch)
	b.Jump(bpf.Eq, audit, bpf.Next, "kill")
	b.Load(bpf.IP.Lo())
	sites := sealedSites
	if !s.Sealed.Bases {
		sites = slices.Concat(sites, baseSites)
	}
	goTo := func(sites []site, page arch.Addr, label func(name string) (uint64, bool)) error {
		for _, c := range sites {
			// The kernel gives the address behind the instruction.
			off, ok := label("past-" + c.name)
			if !ok {
				return fmt.Errorf("sealed stub code has no site %s", c.name)
			}
			b.Jump(bpf.Eq, uint32(uint64(page)+off), "at-"+c.name, bpf.Next)
		}
		return nil
	}
	if err := goTo(sites, l.Code, s.Label); err != nil {
		return nil, err
	}
	b.Label("kill")
	b.Ret(bpf.KillProcess)

	b.Label("template")
	b.Load(bpf.Arch)
	b.Jump(bpf.Eq, audit, bpf.Next, "no-site")
	b.Load(bpf.IP.Lo())
	if err := goTo(templateSites, l.Template(), s.TemplateLabel); err != nil {
		return nil, err
	}
	b.Label("no-site")
	b.Ret(bpf.Trap)

	for _, c := range slices.Concat(sites, templateSites) {
		deny := "deny-" + c.name
		b.Label("at-" + c.name)
		b.Load(bpf.NR)
		b.Jump(bpf.Eq, c.nr, bpf.Next, deny)
		c.rules(b, l, deny)
		b.Ret(bpf.Allow)
		b.Label(deny)
		b.Ret(bpf.KillProcess)
	}
	p, err := b.Program()
	if err != nil {
		return nil, fmt.Errorf("build sealed filter: %w", err)
	}
	return p, nil
}
