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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// topCode is where the stub's code page lies on amd64.
const topCode = 0x7fffffffc000

func none(t *testing.T, code arch.Addr) *bpf.Program {
	t.Helper()
	p, err := postedFilter(code, unix.AUDIT_ARCH_X86_64, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNoneFilterGolden(t *testing.T) {
	text, err := FilterText(topCode, unix.AUDIT_ARCH_X86_64)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, filepath.Join("testdata", "none.golden"), text)
	p := none(t, topCode)
	filter, err := Filter(topCode, unix.AUDIT_ARCH_X86_64)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Insns, filter); diff != "" {
		t.Error(diff)
	}
	if len(filter) != 19 {
		t.Errorf("%d instructions, UML's filter has 19", len(filter))
	}
}

// noneSpec says in plain Go what the filter is for.
func noneSpec(code uint64, d *bpf.Data) bpf.Action {
	behind := d.IP // the instruction's end
	if behind < code || behind >= code+arch.PageSize {
		return bpf.Trap
	}
	if d.Arch != unix.AUDIT_ARCH_X86_64 {
		return bpf.KillProcess
	}
	allowed := []uint32{unix.SYS_FUTEX, unix.SYS_RECVMSG, unix.SYS_CLOSE, unix.SYS_MMAP, unix.SYS_MUNMAP,
		unix.SYS_ARCH_PRCTL, unix.SYS_RT_SIGRETURN}
	if slices.Contains(allowed, d.NR) {
		return bpf.Allow
	}
	return bpf.KillProcess
}

func TestNoneFilterAgainstSpec(t *testing.T) {
	const x32 = 0x40000000 // __X32_SYSCALL_BIT, asm/unistd.h
	var numbers []uint32
	for nr := range uint32(1024) {
		numbers = append(numbers, nr, nr|x32)
	}
	numbers = append(numbers, 1<<31, 1<<32-1)
	for _, code := range []uint64{topCode, 0x1000, 0xffffe000, 0xfffff000, 0x100000000} {
		p := none(t, arch.Addr(code))
		var ips []uint64
		for _, at := range []uint64{code, code + 2, code + 0x800, code + arch.PageSize - 1, code + arch.PageSize} {
			// Also with one half of the address wrong.
			ips = append(ips, at-1, at, at+1, at+1<<32, at-1<<32, at^1<<63, at^1<<12, at^1<<31)
		}
		ips = append(ips, 0, 2, 0x400002, 1<<32-1, 1<<47, ^uint64(0))
		for _, ip := range ips {
			for _, audit := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, 0, unix.AUDIT_ARCH_X86_64 ^ 1<<31} {
				for _, nr := range numbers {
					d := &bpf.Data{NR: nr, Arch: audit, IP: ip, Args: [6]uint64{ip, uint64(nr)}}
					if got, want := p.Run(d), noneSpec(code, d); got != want {
						t.Fatalf("code %#x: %v, want %v for %+v", code, got, want, *d)
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
