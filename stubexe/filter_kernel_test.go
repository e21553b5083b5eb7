package stubexe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/internal/abi"
	"goskas/internal/bpf"
	"goskas/internal/elfimage"
	"goskas/internal/probe"
	"goskas/internal/sys"
	"goskas/internal/testkit"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// The addresses of a victim: a program that puts itself under a filter, makes
// one system call at one place and writes what became of it to a shared page.
const (
	victimText   = 0x400000
	victimCode   = 0x10000000 // plays the stub's code page, with a page either side
	victimResult = 0x20000000
	victimFree   = 0x30000000 // nothing is there
)

// Places for a system call, by where the instruction begins.
const (
	siteInside     = victimCode + 0x100
	siteAcross     = victimCode - 2 // ends where the page begins: inside, to a filter
	siteLast       = victimCode + arch.PageSize - 2
	siteInside32   = victimCode + 0x200
	siteOutside    = victimCode + arch.PageSize + 0x100
	siteOutside32  = victimCode + arch.PageSize + 0x200
	instructionLen = 2 // of syscall and of int 0x80 alike
)

// sites is the pages around the code page: at each place an instruction and
// the way back, through r12.
func sites() []byte {
	page := bytes.Repeat([]byte{0xcc}, 3*arch.PageSize)
	for at, insn := range map[int][]byte{
		siteInside: {0x0f, 0x05}, siteAcross: {0x0f, 0x05}, siteLast: {0x0f, 0x05}, siteOutside: {0x0f, 0x05},
		siteInside32: {0xcd, 0x80}, siteOutside32: {0xcd, 0x80},
	} {
		copy(page[at-(victimCode-arch.PageSize):], append(insn, 0x41, 0xff, 0xe4)) // jmp r12
	}
	return page
}

// What a victim writes about its call.
const (
	fateReturned = 1
	fateTrapped  = 2
)

type victim struct {
	site int
	nr   int64
	args [6]int64
}

// image is a victim's program.
func (v *victim) image(filter []unix.SockFilter) ([]byte, error) {
	a := asm.New(victimText)
	argument := []asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}
	call := func(nr int64, args ...asm.Operand) {
		for i, arg := range args {
			a.Mov(8, argument[i], arg)
		}
		a.Mov(8, asm.RAX, asm.Imm(nr))
		a.Syscall()
		a.Test(8, asm.RAX, asm.RAX)
		a.Jcc(asm.S, "cannot")
	}
	result := func(off int32) asm.Mem { return asm.Ptr(asm.RBX, off) }
	a.Mov(8, asm.RBX, asm.Imm(victimResult))
	call(unix.SYS_MMAP, asm.RBX, asm.Imm(arch.PageSize), asm.Imm(unix.PROT_READ|unix.PROT_WRITE),
		asm.Imm(unix.MAP_SHARED|unix.MAP_FIXED), asm.Imm(3), asm.Imm(0))
	a.Lea(asm.RBP, asm.At("action"))
	call(unix.SYS_RT_SIGACTION, asm.Imm(int64(unix.SIGSYS)), asm.RBP, asm.Imm(0), asm.Imm(8))
	call(unix.SYS_PRCTL, asm.Imm(unix.PR_SET_NO_NEW_PRIVS), asm.Imm(1), asm.Imm(0), asm.Imm(0), asm.Imm(0))
	a.Lea(asm.RBP, asm.At("fprog"))
	call(unix.SYS_SECCOMP, asm.Imm(unix.SECCOMP_SET_MODE_FILTER), asm.Imm(0), asm.RBP)

	a.MovLabel(asm.R12, "returned")
	a.Mov(8, asm.R13, asm.Imm(int64(v.site)))
	a.Mov(8, asm.RAX, asm.Imm(v.nr))
	for i, arg := range v.args {
		a.Mov(8, argument[i], asm.Imm(arg))
	}
	a.JmpTo(asm.R13)

	a.Label("returned")
	a.Mov(8, asm.RBX, asm.Imm(victimResult))
	a.Mov(8, result(8), asm.RAX)
	a.Mov(8, result(0), asm.Imm(fateReturned))
	a.Ud2()
	a.Label("handler") // esi is the siginfo
	a.Mov(8, asm.RBX, asm.Imm(victimResult))
	a.Mov(4, asm.RAX, asm.Ptr(asm.RSI, abi.SI_OFF_SYSCALL))
	a.Mov(8, result(8), asm.RAX)
	a.Mov(4, asm.RAX, asm.Ptr(asm.RSI, abi.SI_OFF_ARCH))
	a.Mov(8, result(16), asm.RAX)
	a.Mov(8, asm.RAX, asm.Ptr(asm.RSI, abi.SI_OFF_CALL_ADDR))
	a.Mov(8, result(24), asm.RAX)
	a.Mov(8, result(0), asm.Imm(fateTrapped))
	a.Label("cannot")
	a.Ud2()

	a.Align(8)
	a.Label("action").QuadLabel("handler").Quad(abi.SA_SIGINFO | abi.SA_RESTORER).QuadLabel("cannot").Quad(0)
	a.Label("fprog").Quad(uint64(len(filter))).QuadLabel("filter")
	a.Label("filter")
	for _, f := range filter {
		a.Quad(uint64(f.Code) | uint64(f.Jt)<<16 | uint64(f.Jf)<<24 | uint64(f.K)<<32)
	}
	text, err := a.Assemble()
	if err != nil {
		return nil, err
	}
	return elfimage.Static(elf.EM_X86_64, victimText,
		elfimage.Segment{Addr: victimText, Flag: elf.PF_R | elf.PF_X, Data: text, Size: uint64(len(text))},
		elfimage.Segment{Addr: victimCode - arch.PageSize, Flag: elf.PF_R | elf.PF_X, Data: sites(), Size: 3 * arch.PageSize},
	), nil
}

// fate is what became of a victim's call.
type fate struct {
	action bpf.Action
	result int64 // of a call that was allowed
	nr     uint64
	audit  uint64
	ip     uint64
}

func (v *victim) run(t *testing.T, filter []unix.SockFilter) fate {
	t.Helper()
	image, err := v.image(filter)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := sys.SealedExec("victim", image)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	page, err := os.CreateTemp(t.TempDir(), "result")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if err := page.Truncate(arch.PageSize); err != nil {
		t.Fatal(err)
	}
	// Not of itself: in the new process the number may be that of the page.
	c := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
	c.ExtraFiles = []*os.File{page}
	c.Dir = t.TempDir() // for a core file
	err = c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("victim: %v", err)
	}
	signal := exit.Sys().(syscall.WaitStatus).Signal()
	var words [4]uint64
	if err := binary.Read(page, binary.LittleEndian, &words); err != nil {
		t.Fatal(err)
	}
	switch {
	case signal == unix.SIGSYS && words[0] == 0:
		return fate{action: bpf.KillProcess}
	case signal == unix.SIGILL && words[0] == fateReturned:
		return fate{action: bpf.Allow, result: int64(words[1])}
	case signal == unix.SIGILL && words[0] == fateTrapped:
		return fate{action: bpf.Trap, nr: words[1], audit: words[2], ip: words[3]}
	}
	t.Fatalf("victim: %v, result page %#x", err, words)
	panic("unreachable")
}

// The kernel's verdicts on real calls are those of the table, and of the
// interpreter.
func TestKernelNoneFilter(t *testing.T) {
	testkit.Need(t, probe.MemfdExec, probe.SeccompTrap)
	const x32 = 0x40000000
	eBADF, eINVAL := -int64(unix.EBADF), -int64(unix.EINVAL)
	for _, c := range []struct {
		name   string
		v      victim
		want   bpf.Action
		result int64 // if allowed
	}{
		{"futex", victim{siteInside, unix.SYS_FUTEX, [6]int64{victimResult, abi.FUTEX_WAKE, 1}}, bpf.Allow, 0},
		{"recvmsg", victim{siteInside, unix.SYS_RECVMSG, [6]int64{-1}}, bpf.Allow, eBADF},
		{"close", victim{siteInside, unix.SYS_CLOSE, [6]int64{-1}}, bpf.Allow, eBADF},
		{"mmap", victim{siteInside, unix.SYS_MMAP, [6]int64{victimFree, arch.PageSize, unix.PROT_READ,
			unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED, -1}}, bpf.Allow, victimFree},
		{"munmap", victim{siteInside, unix.SYS_MUNMAP, [6]int64{victimFree, arch.PageSize}}, bpf.Allow, 0},
		{"arch_prctl", victim{siteInside, unix.SYS_ARCH_PRCTL, [6]int64{0x7777}}, bpf.Allow, eINVAL},
		{"read", victim{siteInside, unix.SYS_READ, [6]int64{-1}}, bpf.KillProcess, 0},
		{"mprotect", victim{siteInside, unix.SYS_MPROTECT, [6]int64{victimText, arch.PageSize, 7}}, bpf.KillProcess, 0},
		{"exit", victim{site: siteInside, nr: unix.SYS_EXIT}, bpf.KillProcess, 0},
		{"execve", victim{site: siteInside, nr: unix.SYS_EXECVE}, bpf.KillProcess, 0},
		{"no such call", victim{site: siteInside, nr: 5000}, bpf.KillProcess, 0},
		{"x32 mmap", victim{site: siteInside, nr: unix.SYS_MMAP | x32}, bpf.KillProcess, 0},
		{"close before the page", victim{siteAcross, unix.SYS_CLOSE, [6]int64{-1}}, bpf.Allow, eBADF},
		{"exit before the page", victim{site: siteAcross, nr: unix.SYS_EXIT}, bpf.KillProcess, 0},
		{"close at the end", victim{siteLast, unix.SYS_CLOSE, [6]int64{-1}}, bpf.Trap, 0},
		{"close outside", victim{siteOutside, unix.SYS_CLOSE, [6]int64{-1}}, bpf.Trap, 0},
		{"exit outside", victim{site: siteOutside, nr: unix.SYS_EXIT}, bpf.Trap, 0},
		{"no such call outside", victim{site: siteOutside, nr: 5000}, bpf.Trap, 0},
		{"x32 mmap outside", victim{site: siteOutside, nr: unix.SYS_MMAP | x32}, bpf.Trap, 0},
	} {
		t.Run(c.name, func(t *testing.T) { checkVictim(t, &c.v, nil, unix.AUDIT_ARCH_X86_64, c.want, c.result) })
	}
}

// What is routed goes to the listener; a victim has none, and the kernel says so
// by ENOSYS. Nothing else changes.
func TestKernelRoutedFilter(t *testing.T) {
	testkit.Need(t, probe.MemfdExec, probe.SeccompTrap, probe.UserNotif)
	mmap := victim{siteInside, unix.SYS_MMAP, [6]int64{victimFree, arch.PageSize, unix.PROT_READ,
		unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED, -1}}
	mmapOutside := mmap
	mmapOutside.site = siteOutside
	munmap := victim{siteInside, unix.SYS_MUNMAP, [6]int64{victimFree, arch.PageSize}}
	closing := victim{siteInside, unix.SYS_CLOSE, [6]int64{-1}}
	both := []stubabi.Kind{stubabi.Mmap, stubabi.Munmap}
	for _, c := range []struct {
		name   string
		v      victim
		routed []stubabi.Kind
		want   bpf.Action
		result int64
	}{
		{"mmap, mmap routed", mmap, both[:1], bpf.UserNotif, -int64(unix.ENOSYS)},
		{"munmap, mmap routed", munmap, both[:1], bpf.Allow, 0},
		{"mmap, both routed", mmap, both, bpf.UserNotif, -int64(unix.ENOSYS)},
		{"munmap, both routed", munmap, both, bpf.UserNotif, -int64(unix.ENOSYS)},
		{"close, both routed", closing, both, bpf.Allow, -int64(unix.EBADF)},
		{"mmap outside", mmapOutside, both, bpf.Trap, 0},
		{"exit", victim{site: siteInside, nr: unix.SYS_EXIT}, both, bpf.KillProcess, 0},
	} {
		t.Run(c.name, func(t *testing.T) { checkVictim(t, &c.v, c.routed, unix.AUDIT_ARCH_X86_64, c.want, c.result) })
	}
}

// Native calls are wrong for a filter that was built for another architecture.
func TestKernelFilterWrongArch(t *testing.T) {
	testkit.Need(t, probe.MemfdExec, probe.SeccompTrap)
	filter := slices.Clone(posted(t, victimCode, nil).Insns)
	native := slices.IndexFunc(filter, func(in unix.SockFilter) bool { return in.K == unix.AUDIT_ARCH_X86_64 })
	filter[native].K = unix.AUDIT_ARCH_I386
	inside := victim{siteInside, unix.SYS_CLOSE, [6]int64{-1}}
	if got, want := inside.run(t, filter), (fate{action: bpf.KillProcess}); got != want {
		t.Errorf("inside: %+v, want %+v", got, want)
	}
	outside := victim{siteOutside, unix.SYS_CLOSE, [6]int64{-1}}
	want := fate{action: bpf.Trap, nr: unix.SYS_CLOSE, audit: unix.AUDIT_ARCH_X86_64, ip: siteOutside + instructionLen}
	if got := outside.run(t, filter); got != want {
		t.Errorf("outside: %+v, want %+v", got, want)
	}
}

// Calls of the other architecture: the numbers mean something else.
func TestKernelNoneFilter32(t *testing.T) {
	testkit.Need(t, probe.MemfdExec, probe.SeccompTrap, probe.IA32)
	checkVictim(t, &victim{site: siteInside32, nr: unix.SYS_CLOSE}, nil, unix.AUDIT_ARCH_I386, bpf.KillProcess, 0)
	checkVictim(t, &victim{site: siteOutside32, nr: unix.SYS_CLOSE}, nil, unix.AUDIT_ARCH_I386, bpf.Trap, 0)
}

func checkVictim(t *testing.T, v *victim, routed []stubabi.Kind, audit uint32, want bpf.Action, result int64) {
	t.Helper()
	p := posted(t, victimCode, routed)
	ip := uint64(v.site) + instructionLen
	d := &bpf.Data{NR: uint32(v.nr), Arch: audit, IP: ip}
	for i, arg := range v.args {
		d.Args[i] = uint64(arg)
	}
	if got := p.Run(d); got != want {
		t.Errorf("interpreter: %v, want %v", got, want)
	}
	wantFate := fate{action: want, result: result}
	switch want {
	case bpf.UserNotif:
		wantFate.action = bpf.Allow // as far as a victim can see
	case bpf.Trap:
		wantFate = fate{action: want, nr: uint64(v.nr), audit: uint64(audit), ip: ip}
	}
	if got := v.run(t, p.Insns); got != wantFate {
		t.Errorf("kernel: %+v, want %+v", got, wantFate)
	}
}
