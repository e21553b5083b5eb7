package amd64

import (
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Futex operations (linux/futex.h). They are the shared forms: monitor and
// stub are different processes.
const (
	futexWait = 0
	futexWake = 1
)

// Stub assembles the stub for a layout. It is what stub.c and stub_exe.c of
// UML 7.2 do, call by call, so that the two can be traced side by side.
func (a *Arch) Stub(l arch.StubLayout, listener bool) (*arch.Stub, error) {
	code := asm.New(uint64(l.Code))
	emitHandler(code, l)
	emitRestorer(code)
	text, labels, err := codePage(code, "stub code")
	if err != nil {
		return nil, err
	}
	s := &arch.Stub{Code: text, Base: programBase, Labels: labels}
	handler, _ := code.Offset("handler")
	restorer, _ := code.Offset("restorer")
	s.Handler, s.Restorer = uint64(handler), uint64(restorer)

	f := filtered
	if listener {
		f = listening
	}
	if s.Program, err = program(l, f); err != nil {
		return nil, fmt.Errorf("assemble stub program: %w", err)
	}
	return s, nil
}

// codePage assembles the code of one page.
func codePage(a *asm.Assembler, what string) (code []byte, labels []arch.Label, err error) {
	if code, err = a.Assemble(); err != nil {
		return nil, nil, fmt.Errorf("assemble %s: %w", what, err)
	}
	if len(code) > arch.PageSize {
		return nil, nil, fmt.Errorf("%s has %d bytes, more than its page", what, len(code))
	}
	for _, name := range a.Labels() {
		off, _ := a.Offset(name)
		labels = append(labels, arch.Label{Name: name, Offset: uint64(off)})
	}
	return code, labels, nil
}

// args sets the registers of a system call's arguments.
func args(a *asm.Assembler, values ...asm.Operand) {
	regs := [...]asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}
	for i, v := range values {
		a.Mov(8, regs[i], v)
	}
}

// call emits a system call; arguments are loaded by the caller.
func call(a *asm.Assembler, nr int64) {
	a.Mov(8, asm.RAX, asm.Imm(nr))
	a.Syscall()
}

// Offsets in the handler's scratch area on the signal stack: a msghdr, its
// iovec, the control message with room for MaxFDs descriptors, and one byte of
// payload.
const (
	scrMsg     = 0
	scrIov     = 56
	scrControl = 72
	scrFDs     = scrControl + 16
	scrByte    = scrControl + 32
	scratch    = 128

	controlLen = 32 // CMSG_SPACE(4 * MaxFDs)
)

// field is a field of stub data: rbx is the data page throughout.
func field(off int32) asm.Mem { return asm.Ptr(asm.RBX, off) }

// emitReport begins a handler: it says which signal it is, and where on the
// signal stack siginfo and mcontext lie.
func emitReport(a *asm.Assembler, l arch.StubLayout) {
	sigstack := int64(l.Data) + arch.PageSize
	a.Label("handler")
	a.Mov(8, asm.RBX, asm.Imm(int64(l.Data)))
	a.Mov(4, field(stubabi.OffSignal), asm.RDI)
	a.Mov(8, asm.RAX, asm.Imm(sigstack))
	a.Alu(asm.Sub, 8, asm.RSI, asm.RAX)
	a.Mov(2, field(stubabi.OffSIOffset), asm.RSI)
	a.Lea(asm.RDX, asm.Ptr(asm.RDX, ucMCtx-frameUC))
	a.Alu(asm.Sub, 8, asm.RDX, asm.RAX)
	a.Mov(2, field(stubabi.OffMCtxOffset), asm.RDX)
}

// emitHandler: edi is the signal, rsi the siginfo, rdx the ucontext; the stack
// pointer is at the return address, rt_sigreturn's frame above it. No register
// has to be kept: rt_sigreturn loads them all.
func emitHandler(a *asm.Assembler, l arch.StubLayout) {
	emitReport(a, l)

	a.Label("report")
	a.Mov(4, field(stubabi.OffFutex), asm.Imm(stubabi.InKern))

	a.Label("wake")
	a.Lea(asm.RDI, field(stubabi.OffFutex))
	a.Mov(8, asm.RSI, asm.Imm(futexWake))
	a.Mov(8, asm.RDX, asm.Imm(1))
	call(a, unix.SYS_FUTEX)
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(-int64(unix.EINTR)))
	a.Jcc(asm.E, "wake")

	a.Label("wait")
	a.Lea(asm.RDI, field(stubabi.OffFutex))
	a.Mov(8, asm.RSI, asm.Imm(futexWait))
	a.Mov(8, asm.RDX, asm.Imm(stubabi.InKern))
	a.Mov(8, asm.R10, asm.Imm(0))
	call(a, unix.SYS_FUTEX)
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(-int64(unix.EINTR)))
	a.Jcc(asm.E, "wait")
	a.Alu(asm.Cmp, 4, field(stubabi.OffFutex), asm.Imm(stubabi.InKern))
	a.Jcc(asm.E, "wait")
	a.Test(4, asm.RAX, asm.RAX)
	a.Jcc(asm.NS, "woken")
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(-int64(unix.EAGAIN)))
	a.Jcc(asm.NE, "die")

	a.Label("woken")
	a.Alu(asm.Cmp, 4, field(stubabi.OffLen), asm.Imm(0))
	a.Jcc(asm.E, "done")
	emitReceive(a)
	emitBatch(a, func() {
		a.Movsxd(asm.R8, asm.Ptr(asm.R12, stubabi.OffEntrySlot))
		a.Mov(4, asm.R8, asm.Idx(asm.RSP, asm.R8, 4, scrFDs))
	}, "close")
	emitClose(a)

	a.Label("done")
	a.Alu(asm.Cmp, 2, field(stubabi.OffRestartWait), asm.Imm(0))
	a.Jcc(asm.E, "resume")

	// Report again, as SIGSYS, once a batch has run on its own or failed.
	a.Label("again")
	a.Mov(4, field(stubabi.OffSignal), asm.Imm(int64(unix.SIGSYS)))
	a.Mov(2, field(stubabi.OffRestartWait), asm.Imm(0))
	a.Jmp("report")

	a.Label("resume")
	a.Mov(4, asm.R12, field(stubabi.OffSync))
	for _, base := range []struct {
		bit   int64
		code  int64
		from  int32
		label string
	}{
		{stubabi.SyncFS, archSetFS, stubabi.OffFSBase, "fs-loaded"},
		{stubabi.SyncGS, archSetGS, stubabi.OffGSBase, "gs-loaded"},
	} {
		a.Mov(4, asm.RAX, asm.R12)
		a.Alu(asm.And, 4, asm.RAX, asm.Imm(base.bit))
		a.Jcc(asm.E, base.label)
		a.Mov(8, asm.RDI, asm.Imm(base.code))
		a.Mov(8, asm.RSI, field(base.from))
		call(a, unix.SYS_ARCH_PRCTL)
		a.Label(base.label)
	}
	a.Mov(4, field(stubabi.OffSync), asm.Imm(0))
	a.Ret() // to the restorer: rt_sigreturn wants the stack at the ucontext

	// What the stub cannot go on from: exit is not on the filter's list, so
	// this is a fatal signal, which the monitor reads as the stub's death.
	a.Label("die")
	a.Ud2()
}

// arch_prctl codes (asm/prctl.h).
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
)

// emitReceive takes the batch's descriptors off the socket. r13 is their
// number afterwards.
func emitReceive(a *asm.Assembler) {
	at := func(off int32) asm.Mem { return asm.Ptr(asm.RSP, off) }
	a.Alu(asm.Sub, 8, asm.RSP, asm.Imm(scratch))
	a.Mov(8, asm.RDI, asm.RSP)
	a.Alu(asm.Xor, 4, asm.RAX, asm.RAX)
	a.Mov(8, asm.RCX, asm.Imm(scratch))
	a.RepStosb()
	a.Lea(asm.RAX, at(scrIov))
	a.Mov(8, at(scrMsg+16), asm.RAX) // msg_iov
	a.Mov(8, at(scrMsg+24), asm.Imm(1))
	a.Lea(asm.RAX, at(scrControl))
	a.Mov(8, at(scrMsg+32), asm.RAX) // msg_control
	a.Mov(8, at(scrMsg+40), asm.Imm(controlLen))
	a.Lea(asm.RAX, at(scrByte))
	a.Mov(8, at(scrIov), asm.RAX)
	a.Mov(8, at(scrIov+8), asm.Imm(1))

	a.Label("receive")
	a.Mov(8, asm.RDI, asm.Imm(0))
	a.Mov(8, asm.RSI, asm.RSP)
	a.Mov(8, asm.RDX, asm.Imm(0))
	call(a, unix.SYS_RECVMSG)
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(-int64(unix.EINTR)))
	a.Jcc(asm.E, "receive")
	a.Alu(asm.Xor, 4, asm.R13, asm.R13)
	a.Test(4, asm.RAX, asm.RAX)
	a.Jcc(asm.NS, "received")
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(-int64(unix.EAGAIN)))
	a.Jcc(asm.NE, "die")
	a.Jmp("batch")

	a.Label("received")
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(1))
	a.Jcc(asm.NE, "batch")
	a.Alu(asm.Cmp, 8, at(scrMsg+40), asm.Imm(16)) // msg_controllen: no more than a header
	a.Jcc(asm.BE, "batch")
	a.Mov(8, asm.R13, at(scrControl)) // cmsg_len
	a.Alu(asm.Sub, 8, asm.R13, asm.Imm(16))
	a.Shr(8, asm.R13, 2)
}

// emitBatch runs the entries: r12 points at one, r15 is its index, r14 becomes
// 1 on failure. slot loads r8 with the descriptor of an entry's slot; what the
// caller emits behind the batch has the label end.
func emitBatch(a *asm.Assembler, slot func(), end string) {
	entry := func(off int32) asm.Mem { return asm.Ptr(asm.R12, off) }

	a.Label("batch")
	a.Lea(asm.R12, field(stubabi.OffEntries))
	a.Alu(asm.Xor, 4, asm.R14, asm.R14)
	a.Alu(asm.Xor, 4, asm.R15, asm.R15)

	a.Label("entry")
	a.Alu(asm.Cmp, 4, asm.R15, field(stubabi.OffLen))
	a.Jcc(asm.GE, "ran")
	a.Mov(4, asm.RAX, entry(stubabi.OffEntryKind))
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(int64(stubabi.Mmap)))
	a.Jcc(asm.E, "mmap")
	a.Alu(asm.Cmp, 4, asm.RAX, asm.Imm(int64(stubabi.Munmap)))
	a.Jcc(asm.E, "munmap")
	a.Mov(8, asm.RAX, asm.Imm(-int64(unix.EOPNOTSUPP)))
	a.Jmp("failed")

	a.Label("mmap")
	slot()
	a.Mov(8, asm.RDI, entry(stubabi.OffEntryAddr))
	a.Mov(8, asm.RSI, entry(stubabi.OffEntryLength))
	a.Movsxd(asm.RDX, entry(stubabi.OffEntryProt))
	a.Mov(8, asm.R10, asm.Imm(unix.MAP_SHARED|unix.MAP_FIXED))
	a.Mov(8, asm.R9, entry(stubabi.OffEntryOffset))
	call(a, unix.SYS_MMAP)
	a.Alu(asm.Cmp, 8, asm.RAX, entry(stubabi.OffEntryAddr))
	a.Jcc(asm.NE, "failed")
	a.Jmp("next")

	a.Label("munmap")
	a.Mov(8, asm.RDI, entry(stubabi.OffEntryAddr))
	a.Mov(8, asm.RSI, entry(stubabi.OffEntryLength))
	call(a, unix.SYS_MUNMAP)
	a.Test(8, asm.RAX, asm.RAX)
	a.Jcc(asm.NE, "failed")

	a.Label("next")
	a.Alu(asm.Add, 8, asm.R12, asm.Imm(stubabi.EntrySize))
	a.Inc(4, asm.R15)
	a.Jmp("entry")

	a.Label("failed")
	a.Mov(8, field(stubabi.OffErr), asm.RAX)
	a.Mov(4, field(stubabi.OffLen), asm.R15)
	a.Mov(8, asm.R14, asm.Imm(1))
	a.Jmp(end)

	a.Label("ran")
	a.Mov(8, field(stubabi.OffErr), asm.Imm(0))
	a.Mov(4, field(stubabi.OffLen), asm.Imm(0))
}

// emitClose closes the descriptors behind a batch, and goes to report again if
// that has failed.
func emitClose(a *asm.Assembler) {
	a.Label("close")
	a.Test(8, asm.R13, asm.R13)
	a.Jcc(asm.E, "closed")
	a.Dec(8, asm.R13)
	a.Mov(4, asm.RDI, asm.Idx(asm.RSP, asm.R13, 4, scrFDs))
	call(a, unix.SYS_CLOSE)
	a.Jmp("close")

	a.Label("closed")
	a.Alu(asm.Add, 8, asm.RSP, asm.Imm(scratch))
	a.Test(4, asm.R14, asm.R14)
	a.Jcc(asm.NE, "again")
}

func emitRestorer(a *asm.Assembler) {
	a.Label("restorer")
	call(a, unix.SYS_RT_SIGRETURN)
}
