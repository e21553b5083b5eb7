package amd64

import (
	"fmt"
	"slices"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// The sealed stub. Guest code may jump to any byte of this page with any
// registers, so nothing here relies on how it was entered: memory is addressed
// from constants alone (relative to rip), there is no push, pop, call or ret,
// and behind each mapping call stands the check that it was one of the live
// batch's. A static check of the finished bytes (verify.go) holds all that.
//
// The host does not mask signals in the handler, since nothing could unmask
// them again without rt_sigreturn. So a tick can interrupt this code. Where the
// host puts the signal frame then follows from the stack pointer, which this
// code keeps at a few known values; the frames are told apart by it.

// sealedFrames are the places at which signal frames come to lie.
type sealedFrames struct {
	xsize int
	// fresh is the frame of a signal that stopped guest code.
	fresh uint64
}

// frameBelow computes where the host puts a signal frame for a stack pointer:
// get_sigframe and fpu__alloc_mathframe of arch/x86/kernel, as PushSignal does
// for guests.
func frameBelow(sp uint64, xsize int) uint64 {
	x := (sp - uint64(xsize) - 4) &^ 63
	return (x-frameSize)&^15 - 8
}

// frameXAt is where the extended state of the frame at f lies: the frame was
// put directly below it.
func frameXAt(f uint64) uint64 { return (f + 8 + frameSize + 63) &^ 63 }

func (a *Arch) newSealedFrames(l arch.StubLayout) sealedFrames {
	top := uint64(l.Stack) + uint64(l.StackPages)*arch.PageSize
	return sealedFrames{xsize: a.xsize, fresh: frameBelow(top, a.xsize)}
}

// nested are the places of the frames for signals that come while the stack
// pointer is sp or at sp's iretq frame.
func (f sealedFrames) nested(sp uint64) []uint64 {
	at := []uint64{frameBelow(sp-redZone, f.xsize), frameBelow(iretFrame(sp)-redZone, f.xsize)}
	return slices.Compact(at)
}

// iretFrame is where the five words for an iretq lie that leaves the frame at
// f: in the red zone below it, which a nested frame leaves alone.
func iretFrame(f uint64) uint64 { return f - 64 }

// Sealed assembles the sealed stub for a layout.
func (a *Arch) Sealed(l arch.StubLayout) (*arch.Stub, error) {
	e := &sealedCode{Assembler: asm.New(uint64(l.Code)), l: l, frames: a.newSealedFrames(l), features: a.features, fsgsbase: a.fsgsbase}
	e.emit()
	text, labels, err := codePage(e.Assembler, "sealed stub code")
	if err != nil {
		return nil, err
	}
	s := &arch.Stub{Code: text, Base: programBase, Labels: labels, Sealed: a.sealedPlaces(e.frames)}
	s.Sealed.Bases = a.fsgsbase
	handler, _ := e.Offset("handler")
	restorer, _ := e.Offset("die")
	s.Handler, s.Restorer = uint64(handler), uint64(restorer)
	if s.Program, err = sealedProgram(l, s); err != nil {
		return nil, fmt.Errorf("assemble sealed stub program: %w", err)
	}
	s.Template, s.TemplateLabels, err = sealedTemplate(l)
	return s, err
}

func (a *Arch) sealedPlaces(f sealedFrames) arch.SealedPlaces {
	return arch.SealedPlaces{
		MContext: arch.Addr(f.fresh + ucMCtx),
		Info:     arch.Addr(f.fresh + frameInfo),
		X:        arch.Addr(frameXAt(f.fresh)),
		Return:   arch.Addr(iretFrame(f.fresh)),
	}
}

// sealedCode emits the page.
type sealedCode struct {
	*asm.Assembler
	l        arch.StubLayout
	frames   sealedFrames
	features uint64
	fsgsbase bool
}

// at is the memory at a constant address.
func (e *sealedCode) at(addr uint64) asm.Mem {
	name := fmt.Sprintf("@%x", addr)
	e.Outside(name, addr)
	return asm.At(name)
}

func (e *sealedCode) data(off uint64) asm.Mem    { return e.at(uint64(e.l.Data) + off) }
func (e *sealedCode) control(off uint64) asm.Mem { return e.at(uint64(e.l.Control) + off) }

// reg is register i of the signal frame at f.
func (e *sealedCode) reg(f uint64, i int) asm.Mem { return e.at(f + ucMCtx + 8*uint64(i)) }

// site makes a system call. The labels are the instruction and the place behind
// it, which is what the filter sees.
func (e *sealedCode) site(name string, nr int64) {
	e.Mov(4, asm.RAX, asm.Imm(nr))
	e.Label("site-" + name)
	e.Syscall()
	e.Label("past-" + name)
}

func (e *sealedCode) emit() {
	e.emitHandler()
	e.emitBatch()
	e.emitResume()
	e.emitNested()

	// Whatever comes here has no right to go on: the filter kills for any
	// call from this place.
	e.Label("die")
	e.Mov(4, asm.RAX, asm.Imm(unix.SYS_EXIT_GROUP))
	e.Label("site-die")
	e.Syscall()
	e.Ud2()
}

// emitHandler: a signal has stopped guest code if the stack pointer is at the
// fresh frame. It must have been outside of the stub: otherwise guest code has
// entered the stub by itself, and may have made a mapping that nothing has
// checked yet. Nothing but the host writes that frame, so the answer is true.
func (e *sealedCode) emitHandler() {
	e.Label("handler")
	e.Lea(asm.RAX, e.at(e.frames.fresh))
	e.Alu(asm.Cmp, 8, asm.RSP, asm.RAX)
	e.Jcc(asm.NE, "nested")
	e.Mov(8, asm.RAX, e.reg(e.frames.fresh, rip))
	e.Lea(asm.RCX, asm.At("handler")) // the page starts with it
	e.Alu(asm.Sub, 8, asm.RAX, asm.RCX)
	e.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(arch.PageSize))
	e.Jcc(asm.B, "die")
	e.Mov(4, e.data(stubabi.OffSealedSignal), asm.RDI)
	e.Mov(4, e.data(stubabi.OffSealedReport), asm.Imm(stubabi.ReportFresh))
	if e.fsgsbase {
		e.BaseOp(asm.RdFS, asm.RAX)
		e.Mov(8, e.data(stubabi.OffSealedFSBase), asm.RAX)
		e.BaseOp(asm.RdGS, asm.RAX)
		e.Mov(8, e.data(stubabi.OffSealedGSBase), asm.RAX)
	}

	e.Label("report")
	e.Mov(4, e.data(stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
	e.Lea(asm.RDI, e.data(stubabi.OffSealedFutex))
	e.Mov(4, asm.RSI, asm.Imm(futexWake))
	e.Mov(4, asm.RDX, asm.Imm(1))
	e.site("wake", unix.SYS_FUTEX)

	e.Label("wait")
	e.Lea(asm.RDI, e.data(stubabi.OffSealedFutex))
	e.Mov(4, asm.RSI, asm.Imm(futexWait))
	e.Mov(4, asm.RDX, asm.Imm(stubabi.InKern))
	e.Mov(4, asm.R10, asm.Imm(0))
	e.site("wait", unix.SYS_FUTEX)
	e.Alu(asm.Cmp, 4, e.data(stubabi.OffSealedFutex), asm.Imm(stubabi.InChild))
	e.Jcc(asm.NE, "wait")
}

// emitBatch runs the entries; ebx is the index. The loads before a call need no
// care: what counts is what the check behind it finds.
func (e *sealedCode) emitBatch() {
	e.Alu(asm.Xor, 4, asm.RBX, asm.RBX)
	e.Label("batch")
	e.entry("ran")
	e.Mov(8, asm.RDI, asm.Ptr(asm.RCX, stubabi.OffSealedAddr))
	e.Mov(8, asm.RSI, asm.Ptr(asm.RCX, stubabi.OffSealedLength))
	e.Alu(asm.Cmp, 4, asm.Ptr(asm.RCX, stubabi.OffSealedKind), asm.Imm(int64(stubabi.Mmap)))
	e.Jcc(asm.NE, "munmap")

	e.Mov(4, asm.RDX, asm.Ptr(asm.RCX, stubabi.OffSealedProt))
	e.Mov(4, asm.R10, asm.Imm(stubabi.SealedMapFlags))
	e.Mov(4, asm.R8, asm.Imm(stubabi.SealedMemFD))
	e.Mov(8, asm.R9, asm.Ptr(asm.RCX, stubabi.OffSealedOffset))
	e.site("mmap", unix.SYS_MMAP)
	e.Alu(asm.Cmp, 8, asm.RAX, asm.RDI)
	e.check(stubabi.Mmap, func() {
		e.Alu(asm.Cmp, 4, asm.RDX, asm.Ptr(asm.RCX, stubabi.OffSealedProt))
		e.Jcc(asm.NE, "die")
		e.Alu(asm.Cmp, 8, asm.R9, asm.Ptr(asm.RCX, stubabi.OffSealedOffset))
		e.Jcc(asm.NE, "die")
	})
	e.Inc(4, asm.RBX)
	e.Jmp("batch")

	e.Label("munmap")
	e.site("munmap", unix.SYS_MUNMAP)
	e.Test(8, asm.RAX, asm.RAX)
	e.check(stubabi.Munmap, func() {})
	e.Inc(4, asm.RBX)
	e.Jmp("batch")

	e.Label("ran")
	e.Alu(asm.Cmp, 4, e.control(stubabi.OffControlAlone), asm.Imm(0))
	e.Jcc(asm.E, "resume")
	e.Mov(4, e.data(stubabi.OffSealedReport), asm.Imm(stubabi.ReportRan))
	e.Jmp("report")
}

// entry makes rcx the address of entry ebx of the live batch, or jumps if there
// is none. rbx may be anything before.
func (e *sealedCode) entry(none string) {
	e.Alu(asm.Cmp, 4, asm.RBX, e.control(stubabi.OffControlLen))
	e.Jcc(asm.AE, none)
	e.Mov(4, asm.RAX, asm.RBX) // clears the upper half
	e.Shl(8, asm.RAX, stubabi.SealedEntryShift)
	e.Lea(asm.RCX, e.control(stubabi.OffControlEntries))
	e.Alu(asm.Add, 8, asm.RCX, asm.RAX)
}

// check stands right behind a mapping call, with the flags set from its result:
// the call must have succeeded, and its arguments, which the host has kept in
// their registers, must be those of an entry of the live batch, which must not
// change meanwhile. Flags, descriptor and the arguments' limits are the
// filter's. args compares what munmap has not.
func (e *sealedCode) check(kind stubabi.Kind, args func()) {
	e.Jcc(asm.NE, "die")
	e.Mov(4, asm.R11, e.control(stubabi.OffControlSeq))
	e.Mov(4, asm.RAX, asm.R11)
	e.Alu(asm.And, 4, asm.RAX, asm.Imm(1))
	e.Jcc(asm.NE, "die")
	e.entry("die")
	e.Alu(asm.Cmp, 8, asm.RDI, asm.Ptr(asm.RCX, stubabi.OffSealedAddr))
	e.Jcc(asm.NE, "die")
	e.Alu(asm.Cmp, 8, asm.RSI, asm.Ptr(asm.RCX, stubabi.OffSealedLength))
	e.Jcc(asm.NE, "die")
	args()
	e.Alu(asm.Cmp, 4, asm.Ptr(asm.RCX, stubabi.OffSealedKind), asm.Imm(int64(kind)))
	e.Jcc(asm.NE, "die")
	e.Alu(asm.Cmp, 4, asm.R11, e.control(stubabi.OffControlSeq))
	e.Jcc(asm.NE, "die")
}

// emitResume returns to the guest. A tick between the look at Tick and the last
// instruction finds its instruction pointer in [resume, resumed) and starts
// over as a report.
func (e *sealedCode) emitResume() {
	f := e.frames.fresh
	e.Label("resume")
	e.Alu(asm.Cmp, 4, e.data(stubabi.OffSealedTick), asm.Imm(0))
	e.Jcc(asm.NE, "tick")
	e.Alu(asm.Cmp, 4, e.data(stubabi.OffSealedSetBases), asm.Imm(0))
	e.Jcc(asm.E, "bases-set")
	e.setBases()
	e.Label("bases-set")
	e.Mov(4, asm.RAX, asm.Imm(int64(uint32(e.features))))
	e.Mov(4, asm.RDX, asm.Imm(int64(e.features>>32)))
	e.Xrstor64(e.at(frameXAt(f)))
	e.loadRegs(func(i int) asm.Mem { return e.data(stubabi.OffSealedRegs + 8*uint64(i)) })
	e.Lea(asm.RSP, e.at(iretFrame(f)))
	e.Iretq()
	e.Label("resumed")

	e.Label("tick")
	e.Mov(4, e.data(stubabi.OffSealedTick), asm.Imm(0))
	e.Mov(4, e.data(stubabi.OffSealedSignal), asm.Imm(int64(unix.SIGALRM)))
	e.Mov(4, e.data(stubabi.OffSealedReport), asm.Imm(stubabi.ReportSame))
	e.Jmp("report")
}

// setBases loads the guest's segment bases. Where the host kernel leaves that to
// user code (FSGSBASE) it needs no call; elsewhere a base that the kernel does
// not know of would be lost at the next switch, and there are two more sites.
func (e *sealedCode) setBases() {
	if e.fsgsbase {
		e.Mov(8, asm.RAX, e.data(stubabi.OffSealedNewFS))
		e.BaseOp(asm.WrFS, asm.RAX)
		e.Mov(8, asm.RAX, e.data(stubabi.OffSealedNewGS))
		e.BaseOp(asm.WrGS, asm.RAX)
		return
	}
	e.Mov(4, asm.RDI, asm.Imm(archSetFS))
	e.Mov(8, asm.RSI, e.data(stubabi.OffSealedNewFS))
	e.site("set-fs", unix.SYS_ARCH_PRCTL)
	e.Mov(4, asm.RDI, asm.Imm(archSetGS))
	e.Mov(8, asm.RSI, e.data(stubabi.OffSealedNewGS))
	e.site("set-gs", unix.SYS_ARCH_PRCTL)
}

// frameRegs are the registers of a signal frame in its order, without rsp.
var frameRegs = [stubabi.NumSealedRegs]asm.Reg{
	r8: asm.R8, r9: asm.R9, r10: asm.R10, r11: asm.R11, r12: asm.R12, r13: asm.R13, r14: asm.R14, r15: asm.R15,
	rdi: asm.RDI, rsi: asm.RSI, rbp: asm.RBP, rbx: asm.RBX, rdx: asm.RDX, rax: asm.RAX, rcx: asm.RCX,
}

func (e *sealedCode) loadRegs(from func(i int) asm.Mem) {
	for i, r := range frameRegs {
		e.Mov(8, r, from(i))
	}
}

// emitNested handles a signal that came while stub code ran. Only a tick may;
// anything else proves that guest code has entered the stub.
//
// The first such frame knows two cases: on the way to the guest nothing of the
// guest's is in the registers that would not be loaded again, so the tick
// becomes a report; anywhere before, the tick is noted for later and the code
// goes on exactly where it was, be it behind a mapping call that has yet to be
// checked. Signals that interrupt this code in turn just go back; more than
// that is not provided for, since the monitor sends no second tick before the
// stub has reported.
func (e *sealedCode) emitNested() {
	first := e.frames.nested(e.frames.fresh)
	var second []uint64
	for _, f := range first {
		second = append(second, e.frames.nested(f)...)
	}
	slices.Sort(second)
	second = slices.Compact(second)

	e.Label("nested")
	e.Alu(asm.Cmp, 4, asm.RDI, asm.Imm(int64(unix.SIGALRM)))
	e.Jcc(asm.NE, "die")
	for _, f := range slices.Concat(first, second) {
		e.Lea(asm.RAX, e.at(f))
		e.Alu(asm.Cmp, 8, asm.RSP, asm.RAX)
		e.Jcc(asm.E, nestedLabel(f))
	}
	e.Jmp("die")

	for i, f := range slices.Concat(first, second) {
		e.Label(nestedLabel(f))
		e.Mov(8, asm.RAX, e.reg(f, rip))
		e.Lea(asm.RCX, asm.At("handler"))
		e.Alu(asm.Cmp, 8, asm.RAX, asm.RCX)
		e.Jcc(asm.B, "die")
		if i < len(first) {
			back := fmt.Sprintf("back-%x", f)
			e.Lea(asm.RCX, asm.At("resume"))
			e.Alu(asm.Cmp, 8, asm.RAX, asm.RCX)
			e.Jcc(asm.B, back)
			e.Lea(asm.RCX, asm.At("resumed"))
			e.Alu(asm.Cmp, 8, asm.RAX, asm.RCX)
			e.Jcc(asm.AE, back)
			e.Lea(asm.RSP, e.at(e.frames.fresh))
			e.Jmp("tick")
			e.Label(back)
			e.Mov(4, e.data(stubabi.OffSealedTick), asm.Imm(1))
		}
		e.goBack(f)
	}
}

func nestedLabel(f uint64) string { return fmt.Sprintf("nested-%x", f) }

// goBack restores the state that the signal frame at f holds. Extended state is
// not touched: stub code does not use it.
func (e *sealedCode) goBack(f uint64) {
	iret := iretFrame(f)
	for i, word := range []asm.Operand{e.reg(f, rip), asm.Imm(userCS), e.reg(f, rflags), e.reg(f, rsp), asm.Imm(userSS)} {
		if m, ok := word.(asm.Mem); ok {
			e.Mov(8, asm.RAX, m)
			word = asm.RAX
		}
		e.Mov(8, e.at(iret+8*uint64(i)), word)
	}
	e.loadRegs(func(i int) asm.Mem { return e.reg(f, i) })
	e.Lea(asm.RSP, e.at(iret))
	e.Iretq()
}
