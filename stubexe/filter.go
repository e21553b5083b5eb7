package stubexe

import (
	"fmt"
	"slices"

	"goskas/arch"
	"goskas/internal/bpf"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Filter is the seccomp filter of stubs that speak UML's protocol: system calls
// from outside the stub's code page trap, those from inside are allowed if the
// stub makes them itself. The calls of the kinds in routed go to the listener
// instead. code is the address of the page, audit the AUDIT_ARCH_* value of the
// stub's system calls.
//
// With nothing routed it is UML 7.2's, instruction by instruction
// (arch/um/kernel/skas/stub_exe.c).
func Filter(code arch.Addr, audit uint32, routed ...stubabi.Kind) ([]unix.SockFilter, error) {
	p, err := postedFilter(code, audit, routed)
	if err != nil {
		return nil, err
	}
	return p.Insns, nil
}

// FilterText is the filter for people.
func FilterText(code arch.Addr, audit uint32, routed ...stubabi.Kind) (string, error) {
	p, err := postedFilter(code, audit, routed)
	if err != nil {
		return "", err
	}
	return p.Text(), nil
}

func postedFilter(code arch.Addr, audit uint32, routed []stubabi.Kind) (*bpf.Program, error) {
	names := make([]string, 0, 2)
	for _, k := range routed {
		names = append(names, k.String())
	}
	return stubFilter(code, audit, len(routed) > 0, func(b *bpf.Builder, calls []stubCall) {
		for _, c := range calls {
			b.Note(c.name)
			if slices.Contains(names, c.name) {
				b.Jump(bpf.Eq, c.nr, "listener", bpf.Next)
				continue
			}
			b.Jump(bpf.Eq, c.nr, "allow", bpf.Next)
		}
	})
}

// stubCall is a system call that the stub's code page makes.
type stubCall struct {
	name string
	nr   uint32
}

// stubCalls lists them by architecture, those made most often first.
func stubCalls(audit uint32) ([]stubCall, error) {
	if audit != unix.AUDIT_ARCH_X86_64 {
		return nil, fmt.Errorf("no stub filter for audit architecture %#x", audit)
	}
	return []stubCall{
		{"futex", unix.SYS_FUTEX},
		{"recvmsg", unix.SYS_RECVMSG},
		{"close", unix.SYS_CLOSE},
		{"mmap", unix.SYS_MMAP},
		{"munmap", unix.SYS_MUNMAP},
		{"arch_prctl", unix.SYS_ARCH_PRCTL},
		{"rt_sigreturn", unix.SYS_RT_SIGRETURN},
	}, nil
}

// stubFilter is what the page filters have in common. rules starts with the
// system call's number in A and decides between the label "allow" and going
// on, which kills; with a listener there is a label of that name, too.
//
// The kernel gives the address behind the system call instruction. So the page
// begins, for a filter, with an instruction that ends where the page begins,
// and an instruction that ends with the page is outside.
func stubFilter(code arch.Addr, audit uint32, listener bool, rules func(b *bpf.Builder, calls []stubCall)) (*bpf.Program, error) {
	if code.PageOffset() != 0 {
		return nil, fmt.Errorf("stub code at %#x is not at a page", uint64(code))
	}
	calls, err := stubCalls(audit)
	if err != nil {
		return nil, err
	}
	b := bpf.New()
	// The page comes first: a call from outside traps whatever its
	// architecture, and the monitor sees which it was.
	b.JumpWide(bpf.IP, ^uint64(arch.PageSize-1), uint64(code), "inside", "outside")
	b.Label("outside")
	b.Ret(bpf.Trap)

	b.Label("inside")
	b.Load(bpf.Arch)
	b.Jump(bpf.Eq, audit, "native", bpf.Next)
	b.Ret(bpf.KillProcess)

	b.Label("native")
	b.Load(bpf.NR)
	rules(b, calls)
	b.Ret(bpf.KillProcess)

	b.Label("allow")
	b.Ret(bpf.Allow)
	if listener {
		b.Label("listener")
		b.Ret(bpf.UserNotif)
	}
	p, err := b.Program()
	if err != nil {
		return nil, fmt.Errorf("build stub filter: %w", err)
	}
	return p, nil
}
