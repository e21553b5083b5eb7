package arch

import "debug/elf"

// PageShift and PageSize are those of x86, the page size of every supported
// CPU.
const (
	PageShift = 12
	PageSize  = 1 << PageShift
)

// Addr is a guest virtual address.
type Addr uint64

// PageDown rounds a down to a page boundary.
func (a Addr) PageDown() Addr { return a &^ (PageSize - 1) }

// PageUp rounds a up to a page boundary; ok is false if that overflows.
func (a Addr) PageUp() (up Addr, ok bool) {
	up = (a + PageSize - 1).PageDown()
	return up, up >= a
}

// PageOffset is a's offset inside its page.
func (a Addr) PageOffset() uint64 { return uint64(a) & (PageSize - 1) }

// Access is a set of rights to a page, or the kind of an access to it.
type Access uint8

// The three rights, in the bit order of PROT_READ, PROT_WRITE and PROT_EXEC
// (asm-generic/mman-common.h), so that a conversion is a cast.
const (
	Read Access = 1 << iota
	Write
	Exec
)

func (a Access) String() string {
	s := []byte("---")
	for i, c := range []byte("rwx") {
		if a&(1<<i) != 0 {
			s[i] = c
		}
	}
	return string(s)
}

// NumGPR is the room for the general registers of the widest CPU; which one
// is where is known to that CPU's package alone.
const NumGPR = 18

// Regs is the user register state of one guest task.
type Regs struct {
	// GPR holds the general registers, instruction pointer and flags, in
	// the order of the CPU's package.
	GPR [NumGPR]uint64
	// CS is the code segment selector; 0 and all that guests cannot have
	// mean the usual one.
	CS uint16
	// FSBase and GSBase are the thread-pointer bases (amd64).
	FSBase, GSBase uint64
	// X is the extended state (x87, SSE, AVX, AVX-512) in the CPU's
	// standard XSAVE layout; nil means the state of a fresh task. While
	// the task was the last to run on its stub the truth is in the stub's
	// frame: call skas.(*MM).SaveX before reading it.
	X []byte
}

// Fault is an exception of guest code, decoded.
type Fault struct {
	// Page is true for a page fault. All others have Trap and Code alone: what
	// the CPU tells of an address is that of some page fault before.
	Page   bool
	Addr   Addr   // faulting address
	Access Access // what was tried
	// Present is true if the host had a mapping there and refused the
	// access (SEGV_ACCERR), false if there was none (SEGV_MAPERR).
	Present bool
	Trap    uint64 // CPU trap number
	Code    uint64 // CPU error code
}

// Signal is what a guest signal handler is entered with.
type Signal struct {
	No       int
	Info     [128]byte // siginfo_t in the guest's layout
	Handler  Addr
	Restorer Addr
	Mask     uint64 // mask to restore on return
	OnStack  bool   // switch to the alternate stack below
	AltBase  Addr   // current alternate stack, recorded in the frame
	AltSize  uint64
	AltFlags uint32
	// Trap, Code and Addr of the task's exceptions so far go into the context
	// (trapno, err, cr2), whatever the signal is about.
	Fault Fault
}

// SignalReturn is what a signal frame says beside the registers.
type SignalReturn struct {
	Mask     uint64
	AltBase  Addr
	AltSize  uint64
	AltFlags uint32
}

// Arch is everything that the monitor and the guest have to know of one CPU.
// arch/amd64 implements it; arch/386 will (its guests run in compatibility
// mode on the same monitor). Nothing outside arch/ names a register or an
// instruction.
type Arch interface {
	// Name is the GOARCH spelling.
	Name() string
	// Machine and Class say which ELF files this CPU runs.
	Machine() elf.Machine
	Class() elf.Class
	// AuditArch is the AUDIT_ARCH_* value of its system calls.
	AuditArch() uint32
	// UnameMachine is what uname(2) reports.
	UnameMachine() string
	// UserTop is the end of the user address space on a Linux host.
	UserTop() Addr
	// HWCap and HWCap2 are the auxiliary vector values for guests.
	HWCap() (hwcap, hwcap2 uint64)

	// Stub assembles the stub that speaks UML's protocol for a layout; with
	// a listener, its filter gets one.
	Stub(l StubLayout, listener bool) (*Stub, error)
	// Sealed assembles the sealed stub, and says what it needs if this CPU
	// cannot run it.
	Sealed(l StubLayout) (*Stub, error)
	// Traced assembles the stub of UML's ptrace mode.
	Traced(l StubLayout) (*Stub, error)
	// LoadTraced reads a traced stub's registers, bases and all, from what
	// PTRACE_GETREGS gives, TracedSize bytes; call says that the stub is
	// stopped at a system call. StoreTraced writes what PTRACE_SETREGS takes,
	// sanitized, over what was read last.
	LoadTraced(user []byte, call bool, r *Regs)
	StoreTraced(user []byte, r *Regs)
	TracedSize() int
	// TracedX is the register set (NT_*, linux/elf.h) of the extended state.
	TracedX() int
	// StoreReturn writes what the sealed stub returns to the guest with: the
	// general registers (SealedData.Regs) and the frame at
	// SealedPlaces.Return.
	StoreReturn(regs *[15]uint64, frame []byte, r *Regs)

	// LoadFrame reads general registers out of a copied mcontext.
	LoadFrame(mctx []byte, r *Regs)
	// StoreFrame writes them back, with selectors and flags sanitized.
	StoreFrame(mctx []byte, r *Regs)
	// MContextSize is the number of bytes those two and FrameFault need.
	MContextSize() int
	// FrameX is the address of the extended state that mctx points to.
	FrameX(mctx []byte) Addr
	// FrameFault decodes the frame of a signal that an exception caused.
	FrameFault(mctx []byte) Fault
	// XSize is the size of the extended state in a signal frame of this
	// host, trailing magic not counted.
	XSize() int
	// LoadX copies the extended state out of a frame's area into dst;
	// StoreX puts x back (nil: the initial state) and keeps what the
	// kernel wrote for itself. Both take XSize bytes.
	LoadX(dst, frame []byte)
	StoreX(frame, x []byte)
	// SanitizeX makes a state from guest memory one that the CPU accepts.
	SanitizeX(x []byte)

	// Syscall gives number and arguments of a trapped system call.
	Syscall(r *Regs) (nr uint64, args [6]uint64)
	// IsMunmap tells munmap from mmap among the stub's mapping calls.
	IsMunmap(nr uint64) bool
	// SetResult stores a system call's result (a negated errno on error).
	SetResult(r *Regs, v int64)
	// Restart points r back at the system call instruction, with number nr.
	Restart(r *Regs, nr uint64)
	PC(r *Regs) Addr
	SP(r *Regs) Addr
	SetPC(r *Regs, a Addr)
	SetSP(r *Regs, a Addr)
	// Start sets r to a program's initial state.
	Start(r *Regs, entry, sp Addr)
	// StartCall sets r to begin at entry with arguments as Syscall gives
	// them, and no stack.
	StartCall(r *Regs, entry Addr, args [6]uint64)

	// PushSignal builds the signal frame that Linux would: the bytes to be
	// written at the returned address, and r changed to enter the handler.
	// r.X must be current.
	PushSignal(r *Regs, s *Signal) (frame []byte, at Addr)
	// PopSignal is rt_sigreturn: it reads the frame at r's stack pointer
	// through read and restores r from it.
	PopSignal(r *Regs, read func(a Addr, p []byte) error) (SignalReturn, error)
}

// StubLayout is where the stub's pages lie in its address space; it is
// computed once per monitor. All are page aligned.
type StubLayout struct {
	Code      Addr // one page, R-X; also the end of guest space
	Data      Addr // DataPages pages, RW: the queue page, then the signal stack
	DataPages int
	// Of a sealed stub only. Data is one page there, and not guest memory.
	Control    Addr // one page, read-only
	Stack      Addr // StackPages pages, RW: the signal stack
	StackPages int
}

// Template is where the code of a sealed stub's template lies: one page, R-X,
// which no other stub has.
func (l StubLayout) Template() Addr { return l.Code - PageSize }

// SealedPlaces are the addresses on a sealed stub's signal stack at which a
// stopped guest's state lies: constants, since the stub keeps nothing else
// there.
type SealedPlaces struct {
	MContext Addr // of the signal frame
	Info     Addr // siginfo_t
	X        Addr // extended state, coming and going
	Return   Addr // where StoreReturn's frame goes
	// Bases is set if the stub reports the guest's segment bases, which it
	// may have changed by itself.
	Bases bool
}

// Stub is an assembled stub: a page of code for the life of the stub and the
// program that maps it there.
type Stub struct {
	Code     []byte // at most a page
	Handler  uint64 // offset of the signal handler in Code
	Restorer uint64 // offset of the sa_restorer in Code
	Batch    uint64 // of a traced stub: offset of the code that runs a batch
	Stay     uint64 // of a traced stub: offset of the code that stops it
	Program  []byte // start-up code, run at ProgramBase
	Base     Addr   // where Program is linked
	Labels   []Label
	Sealed   SealedPlaces // of a sealed stub
	// Template is the code of a sealed stub's template, at most a page.
	Template       []byte
	TemplateLabels []Label
}

// Label finds a label's offset in the code page.
func (s *Stub) Label(name string) (offset uint64, ok bool) { return find(s.Labels, name) }

// TemplateLabel finds a label's offset in the template's page.
func (s *Stub) TemplateLabel(name string) (offset uint64, ok bool) {
	return find(s.TemplateLabels, name)
}

func find(labels []Label, name string) (offset uint64, ok bool) {
	for _, l := range labels {
		if l.Name == name {
			return l.Offset, true
		}
	}
	return 0, false
}

// Label names a place in the stub code page, for disassembly.
type Label struct {
	Name   string
	Offset uint64
}
