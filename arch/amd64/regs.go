package amd64

import (
	"debug/elf"
	"encoding/binary"

	"goskas/arch"

	"golang.org/x/sys/unix"
)

// Indices into arch.Regs.GPR, in the order of the kernel's struct sigcontext
// (arch/x86/include/uapi/asm/sigcontext.h), so that a frame is copied in one
// loop.
const (
	r8 = iota
	r9
	r10
	r11
	r12
	r13
	r14
	r15
	rdi
	rsi
	rbp
	rbx
	rdx
	rax
	rcx
	rsp
	rip
	rflags
	numGPR
)

// Offsets in struct sigcontext behind the registers.
const (
	offSelectors = 144 // cs, gs, fs, ss: 16 bits each
	offErr       = 152
	offTrapno    = 160
	offOldmask   = 168
	offCR2       = 176
	offFPState   = 184
	mctxSize     = 256
)

// Selectors of 64-bit user code on Linux (asm/segment.h: __USER_CS, __USER_DS).
const (
	userCS = 0x33
	userSS = 0x2b
)

// Flags that user code may change freely; the rest keeps its fixed value.
const (
	flagsUser  = 0x240dd5 // CF PF AF ZF SF TF DF OF AC ID
	flagsFixed = 0x202    // IF and the always-one bit
	flagTF     = 0x100
)

// Arch implements arch.Arch.
type Arch struct {
	xsize    int
	features uint64 // XCR0: the extended state components in use
	// fsgsbase: user code may set the segment bases (Linux 5.9 and later
	// tell by AT_HWCAP2), and the kernel keeps what it has set.
	fsgsbase bool
}

// New looks at this host's CPU once.
func New() *Arch {
	size, features := hostXState()
	return &Arch{xsize: size, features: features, fsgsbase: hostFSGSBase()}
}

// WithBases is a for hosts that do, or do not, leave the segment bases to user
// code: the sealed stub has two forms.
func (a Arch) WithBases(user bool) *Arch {
	a.fsgsbase = user
	return &a
}

func (*Arch) Name() string         { return "amd64" }
func (*Arch) Machine() elf.Machine { return elf.EM_X86_64 }
func (*Arch) Class() elf.Class     { return elf.ELFCLASS64 }
func (*Arch) AuditArch() uint32    { return unix.AUDIT_ARCH_X86_64 }
func (*Arch) UnameMachine() string { return "x86_64" }

// UserTop leaves out the last page below the canonical hole, as Linux does
// (TASK_SIZE_MAX with 4-level page tables).
func (*Arch) UserTop() arch.Addr { return 1<<47 - arch.PageSize }

func (*Arch) MContextSize() int { return mctxSize }

func (*Arch) LoadFrame(mctx []byte, r *arch.Regs) {
	for i := range numGPR {
		r.GPR[i] = binary.LittleEndian.Uint64(mctx[8*i:])
	}
	r.CS = 0
	if cs := binary.LittleEndian.Uint16(mctx[offSelectors:]); cs == user32CS {
		r.CS = cs
	}
}

func (*Arch) StoreFrame(mctx []byte, r *arch.Regs) {
	for i := range numGPR {
		binary.LittleEndian.PutUint64(mctx[8*i:], r.GPR[i])
	}
	binary.LittleEndian.PutUint64(mctx[8*rflags:], r.GPR[rflags]&flagsUser|flagsFixed)
	binary.LittleEndian.PutUint64(mctx[offSelectors:], codeSegment(r)|userSS<<48)
}

// codeSegment is the selector that r may run with.
func codeSegment(r *arch.Regs) uint64 {
	if r.CS == user32CS {
		return user32CS
	}
	return userCS
}

// Selectors that guest code may run with: 64-bit code, and the 32-bit code
// segment that Linux offers every process (__USER32_CS).
const user32CS = 0x23

func (*Arch) StoreReturn(regs *[15]uint64, frame []byte, r *arch.Regs) {
	copy(regs[:], r.GPR[:rsp])
	le := binary.LittleEndian
	le.PutUint64(frame[0:], r.GPR[rip])
	le.PutUint64(frame[8:], codeSegment(r))
	le.PutUint64(frame[16:], r.GPR[rflags]&flagsUser|flagsFixed)
	le.PutUint64(frame[24:], r.GPR[rsp])
	le.PutUint64(frame[32:], userSS)
}

func (*Arch) FrameX(mctx []byte) arch.Addr {
	return arch.Addr(binary.LittleEndian.Uint64(mctx[offFPState:]))
}

// Trap numbers and page fault error code bits (arch/x86/include/asm/trapnr.h,
// trap_pf.h).
const (
	trapPF      = 14
	pfProt      = 1 << 0
	pfWrite     = 1 << 1
	pfInstr     = 1 << 4
	numSyscalls = 6
)

func (*Arch) FrameFault(mctx []byte) arch.Fault {
	f := arch.Fault{
		Trap: binary.LittleEndian.Uint64(mctx[offTrapno:]),
		Code: binary.LittleEndian.Uint64(mctx[offErr:]),
	}
	if f.Trap != trapPF {
		return f
	}
	f.Page = true
	f.Addr = arch.Addr(binary.LittleEndian.Uint64(mctx[offCR2:]))
	f.Present = f.Code&pfProt != 0
	switch {
	case f.Code&pfInstr != 0:
		f.Access = arch.Exec
	case f.Code&pfWrite != 0:
		f.Access = arch.Write
	default:
		f.Access = arch.Read
	}
	return f
}

func (*Arch) Syscall(r *arch.Regs) (nr uint64, args [6]uint64) {
	g := &r.GPR
	return g[rax], [6]uint64{g[rdi], g[rsi], g[rdx], g[r10], g[r8], g[r9]}
}

func (*Arch) IsMunmap(nr uint64) bool { return nr == unix.SYS_MUNMAP }

func (*Arch) SetResult(r *arch.Regs, v int64) { r.GPR[rax] = uint64(v) }

// Restart relies on every system call instruction that amd64 code can use
// (syscall, int 0x80, sysenter) being two bytes long.
func (*Arch) Restart(r *arch.Regs, nr uint64) {
	r.GPR[rax] = nr
	r.GPR[rip] -= 2
}

func (*Arch) PC(r *arch.Regs) arch.Addr       { return arch.Addr(r.GPR[rip]) }
func (*Arch) SP(r *arch.Regs) arch.Addr       { return arch.Addr(r.GPR[rsp]) }
func (*Arch) SetPC(r *arch.Regs, a arch.Addr) { r.GPR[rip] = uint64(a) }
func (*Arch) SetSP(r *arch.Regs, a arch.Addr) { r.GPR[rsp] = uint64(a) }

// StartCall sets the registers of a system call's arguments.
func (a *Arch) StartCall(r *arch.Regs, entry arch.Addr, args [6]uint64) {
	a.Start(r, entry, 0)
	g := &r.GPR
	g[rdi], g[rsi], g[rdx], g[r10], g[r8], g[r9] = args[0], args[1], args[2], args[3], args[4], args[5]
}

func (*Arch) Start(r *arch.Regs, entry, sp arch.Addr) {
	*r = arch.Regs{}
	r.GPR[rip], r.GPR[rsp], r.GPR[rflags] = uint64(entry), uint64(sp), flagsFixed
}
