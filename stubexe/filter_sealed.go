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
// call from outside traps, whatever its architecture.
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
	if SealedGuestEnd+stubabi.MaxSealedLength > uint64(l.Code) {
		return nil, fmt.Errorf("stub code at %#x is too near to the end of guest space", uint64(l.Code))
	}
	b := bpf.New()
	b.JumpWide(bpf.IP, ^uint64(arch.PageSize-1), uint64(l.Code), "inside", "outside")
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
	for _, c := range sites {
		// The kernel gives the address behind the instruction.
		off, ok := s.Label("past-" + c.name)
		if !ok {
			return nil, fmt.Errorf("sealed stub code has no site %s", c.name)
		}
		b.Jump(bpf.Eq, uint32(uint64(l.Code)+off), "at-"+c.name, bpf.Next)
	}
	b.Label("kill")
	b.Ret(bpf.KillProcess)

	for _, c := range sites {
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
