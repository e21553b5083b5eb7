package amd64

import (
	"encoding/binary"
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Traced assembles the stub of UML's ptrace mode. Its code is entered in two
// ways that end in a trap: as the signal handler, which says where the signal frame
// is, and at the label "run", where the monitor points it for a batch.
func (a *Arch) Traced(l arch.StubLayout) (*arch.Stub, error) {
	code := asm.New(uint64(l.Code))
	emitReport(code, l)
	code.Int3()
	code.Ud2() // nobody goes on from a trap

	code.Label("run")
	code.Mov(8, asm.RBX, asm.Imm(int64(l.Data)))
	emitBatch(code, func() {
		code.Movsxd(asm.R8, asm.Ptr(asm.R12, stubabi.OffEntrySlot))
		code.Alu(asm.Add, 4, asm.R8, asm.Imm(stubabi.FirstFD))
	}, "ran-out")
	code.Label("ran-out")
	code.Int3()
	code.Ud2()

	// Where a stub is left that nobody traces: it stays stopped, even if
	// somebody continues it.
	code.Label("stay")
	stopItself(code)
	code.Jmp("stay")

	emitRestorer(code) // of the sigaction; the handler does not get there
	text, labels, err := codePage(code, "stub code")
	if err != nil {
		return nil, err
	}
	s := &arch.Stub{Code: text, Base: programBase, Labels: labels}
	for _, e := range []struct {
		label string
		to    *uint64
	}{{"handler", &s.Handler}, {"restorer", &s.Restorer}, {"run", &s.Batch}, {"stay", &s.Stay}} {
		*e.to, _ = s.Label(e.label)
	}
	if s.Program, err = program(l, traced); err != nil {
		return nil, fmt.Errorf("assemble stub program: %w", err)
	}
	return s, nil
}

// stopItself is kill(getpid(), SIGSTOP).
func stopItself(a *asm.Assembler) {
	call(a, unix.SYS_GETPID)
	a.Mov(8, asm.RDI, asm.RAX)
	a.Mov(8, asm.RSI, asm.Imm(int64(unix.SIGSTOP)))
	call(a, unix.SYS_KILL)
}

// userRegs are the offsets in struct user_regs_struct (asm/user_64.h) of the
// registers in arch.Regs.GPR.
var userRegs = [numGPR]int{
	r15: 0, r14: 8, r13: 16, r12: 24, rbp: 32, rbx: 40, r11: 48, r10: 56, r9: 64, r8: 72,
	rax: 80, rcx: 88, rdx: 96, rsi: 104, rdi: 112, rip: 128, rflags: 144, rsp: 152,
}

// The other fields of struct user_regs_struct. Behind them are the data segment
// selectors, which stay as guest code has set them.
const (
	userOrigAX = 120
	userCSSel  = 136
	userSSSel  = 160
	userFSBase = 168
	userGSBase = 176
	userSize   = 216
)

// TracedSize is the size of struct user_regs_struct.
func (*Arch) TracedSize() int { return userSize }

// LoadTraced reads registers as PTRACE_GETREGS gives them. At a system call rax
// holds what the kernel would return, and the number is beside it.
func (*Arch) LoadTraced(user []byte, call bool, r *arch.Regs) {
	le := binary.LittleEndian
	for i, off := range userRegs {
		r.GPR[i] = le.Uint64(user[off:])
	}
	if call {
		r.GPR[rax] = le.Uint64(user[userOrigAX:])
	}
	r.CS = 0
	if cs := le.Uint64(user[userCSSel:]); cs == user32CS {
		r.CS = user32CS
	}
	r.FSBase, r.GSBase = le.Uint64(user[userFSBase:]), le.Uint64(user[userGSBase:])
}

// StoreTraced writes registers as PTRACE_SETREGS takes them. The kernel is to
// see no system call in them that it might restart.
func (a *Arch) StoreTraced(user []byte, r *arch.Regs) {
	le := binary.LittleEndian
	for i, off := range userRegs {
		le.PutUint64(user[off:], r.GPR[i])
	}
	le.PutUint64(user[userRegs[rflags]:], r.GPR[rflags]&flagsUser|flagsFixed)
	le.PutUint64(user[userOrigAX:], ^uint64(0))
	le.PutUint64(user[userCSSel:], codeSegment(r))
	le.PutUint64(user[userSSSel:], userSS)
	le.PutUint64(user[userFSBase:], a.base(r.FSBase))
	le.PutUint64(user[userGSBase:], a.base(r.GSBase))
}

// base is a segment base that the CPU takes: PTRACE_SETREGS fails with others.
func (a *Arch) base(b uint64) uint64 {
	if b >= uint64(a.UserTop()) {
		return 0
	}
	return b
}

// TracedX is the register set (linux/elf.h) that has the extended state as it is
// in signal frames.
func (a *Arch) TracedX() int {
	if a.xsize == xLegacyEnd {
		return unix.NT_PRFPREG
	}
	return unix.NT_X86_XSTATE
}
