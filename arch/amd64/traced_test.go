package amd64

import (
	"path/filepath"
	"reflect"
	"testing"

	"goskas/arch"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The traced stub's bytes, of its code page and its start-up program.
func TestTracedGolden(t *testing.T) {
	s, err := New().Traced(testLayout())
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, filepath.Join("testdata", "traced.golden"), listing(s.Code, uint64(testLayout().Code), s.Labels))
	testkit.Golden(t, filepath.Join("testdata", "program-traced.golden"), listing(s.Program, uint64(s.Base), nil))
}

// Registers come back as they were stored, but for what no guest may have.
func TestTracedRegisters(t *testing.T) {
	a := New()
	var want arch.Regs
	for i := range want.GPR {
		want.GPR[i] = 0x1000_0000_0000 + uint64(i)
	}
	want.GPR[rflags] = flagsFixed | flagTF
	want.FSBase, want.GSBase, want.CS = 0x1234, 0x5678, user32CS
	user := make([]byte, a.TracedSize())
	a.StoreTraced(user, &want)
	var got arch.Regs
	a.LoadTraced(user, false, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	a.LoadTraced(user, true, &got)
	if got.GPR[rax] != ^uint64(0) {
		t.Errorf("number of a system call %#x", got.GPR[rax])
	}

	bad := want
	bad.GPR[rflags] = ^uint64(0)
	bad.FSBase, bad.GSBase, bad.CS = uint64(a.UserTop()), ^uint64(0), 0x10
	a.StoreTraced(user, &bad)
	a.LoadTraced(user, false, &got)
	if got.FSBase != 0 || got.GSBase != 0 || got.CS != 0 || got.GPR[rflags] != flagsUser|flagsFixed {
		t.Errorf("%+v", got)
	}
}

// The offsets are those of the struct that golang.org/x/sys has for amd64.
func TestUserRegsLayout(t *testing.T) {
	regs := reflect.TypeFor[unix.PtraceRegs]()
	if int(regs.Size()) != userSize {
		t.Errorf("%d bytes, not %d", regs.Size(), userSize)
	}
	for name, off := range map[string]int{
		"Rax": userRegs[rax], "Rbx": userRegs[rbx], "Rcx": userRegs[rcx], "Rdx": userRegs[rdx],
		"Rsi": userRegs[rsi], "Rdi": userRegs[rdi], "Rbp": userRegs[rbp], "Rsp": userRegs[rsp],
		"R8": userRegs[r8], "R9": userRegs[r9], "R10": userRegs[r10], "R11": userRegs[r11],
		"R12": userRegs[r12], "R13": userRegs[r13], "R14": userRegs[r14], "R15": userRegs[r15],
		"Rip": userRegs[rip], "Eflags": userRegs[rflags], "Orig_rax": userOrigAX,
		"Cs": userCSSel, "Ss": userSSSel, "Fs_base": userFSBase, "Gs_base": userGSBase,
	} {
		f, ok := regs.FieldByName(name)
		if !ok || int(f.Offset) != off {
			t.Errorf("%s is at %d, not %d", name, f.Offset, off)
		}
	}
}
