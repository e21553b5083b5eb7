package stubexe

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/internal/bpf"
	"goskas/internal/testkit"
	"goskas/stubexe/stubabi"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// topCode is where the stub's code page lies on amd64.
const topCode = 0x7fffffffc000

// routes are the filters, by what they send to the listener.
var routes = []struct {
	name   string
	kinds  []stubabi.Kind
	length int
}{
	{"none", nil, 19}, // as many as UML's
	{"mmap", []stubabi.Kind{stubabi.Mmap}, 20},
	{"mmap-munmap", []stubabi.Kind{stubabi.Mmap, stubabi.Munmap}, 20},
}

func posted(t *testing.T, code arch.Addr, routed []stubabi.Kind) *bpf.Program {
	t.Helper()
	p, err := postedFilter(code, unix.AUDIT_ARCH_X86_64, routed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilterGolden(t *testing.T) {
	for _, r := range routes {
		text, err := FilterText(topCode, unix.AUDIT_ARCH_X86_64, r.kinds...)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Golden(t, filepath.Join("testdata", r.name+".golden"), text)
		filter, err := Filter(topCode, unix.AUDIT_ARCH_X86_64, r.kinds...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(posted(t, topCode, r.kinds).Insns, filter); diff != "" {
			t.Errorf("%s: %s", r.name, diff)
		}
		if len(filter) != r.length {
			t.Errorf("%s: %d instructions, not %d", r.name, len(filter), r.length)
		}
	}
}

// spec says in plain Go what a filter is for.
func spec(code uint64, routed []stubabi.Kind, d *bpf.Data) bpf.Action {
	behind := d.IP // the instruction's end
	if behind < code || behind >= code+arch.PageSize {
		return bpf.Trap
	}
	if d.Arch != unix.AUDIT_ARCH_X86_64 {
		return bpf.KillProcess
	}
	switch {
	case d.NR == unix.SYS_MMAP && slices.Contains(routed, stubabi.Mmap),
		d.NR == unix.SYS_MUNMAP && slices.Contains(routed, stubabi.Munmap):
		return bpf.UserNotif
	}
	allowed := []uint32{unix.SYS_FUTEX, unix.SYS_RECVMSG, unix.SYS_CLOSE, unix.SYS_MMAP, unix.SYS_MUNMAP,
		unix.SYS_ARCH_PRCTL, unix.SYS_RT_SIGRETURN}
	if slices.Contains(allowed, d.NR) {
		return bpf.Allow
	}
	return bpf.KillProcess
}

func TestFilterAgainstSpec(t *testing.T) {
	const x32 = 0x40000000 // __X32_SYSCALL_BIT, asm/unistd.h
	var numbers []uint32
	for nr := range uint32(512) {
		numbers = append(numbers, nr, nr|x32)
	}
	numbers = append(numbers, 5000, 1<<31, 1<<32-1)
	for _, code := range []uint64{topCode, 0x1000, 0xffffe000, 0xfffff000, 0x100000000} {
		var ips []uint64
		for _, at := range []uint64{code, code + 2, code + 0x800, code + arch.PageSize - 1, code + arch.PageSize} {
			// Also with one half of the address wrong.
			ips = append(ips, at-1, at, at+1, at+1<<32, at-1<<32, at^1<<63, at^1<<12, at^1<<31)
		}
		ips = append(ips, 0, 2, 0x400002, 1<<32-1, 1<<47, ^uint64(0))
		for _, r := range routes {
			p := posted(t, arch.Addr(code), r.kinds)
			for _, ip := range ips {
				for _, audit := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, 0, unix.AUDIT_ARCH_X86_64 ^ 1<<31} {
					for _, nr := range numbers {
						d := &bpf.Data{NR: nr, Arch: audit, IP: ip, Args: [6]uint64{ip, uint64(nr)}}
						if got, want := p.Run(d), spec(code, r.kinds, d); got != want {
							t.Fatalf("%s, code %#x: %v, want %v for %+v", r.name, code, got, want, *d)
						}
					}
				}
			}
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for want, make := range map[string]func() error{
		"no stub filter for audit architecture 0x40000003": func() error {
			_, err := Filter(topCode, unix.AUDIT_ARCH_I386)
			return err
		},
		"stub code at 0x1001 is not at a page": func() error {
			_, err := FilterText(0x1001, unix.AUDIT_ARCH_X86_64)
			return err
		},
	} {
		if err := make(); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
