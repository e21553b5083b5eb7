package amd64

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"goskas/arch"
	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// CounterSteady reports whether the time stamp counter is invariant (Intel SDM
// volume 3, 19.17.1).
func (*Arch) CounterSteady() bool {
	const leaf, bit = 0x80000007, 1 << 8
	if last, _, _, _ := cpuid(0x80000000, 0); last < leaf {
		return false
	}
	_, _, _, edx := cpuid(leaf, 0)
	return edx&bit != 0
}

// CounterNow reads the time stamp counter.
func (*Arch) CounterNow() uint64 { return rdtsc() }

// vdsoFunctions are what a VDSO has, by the names that Linux gives them; each
// also has the name without "__vdso_", as a weak symbol.
var vdsoFunctions = []struct {
	name string
	emit func(a *asm.Assembler)
}{
	{"__vdso_clock_gettime", emitClockGettime},
	{"__vdso_gettimeofday", emitGettimeofday},
	{"__vdso_time", emitTime},
	{"__vdso_clock_getres", emitClockGetres},
	{"__vdso_getcpu", emitGetcpu},
}

const (
	nsPerSecond = 1_000_000_000
	pageSize    = arch.PageSize
	// coarseRes is the resolution of the coarse clocks: a tick of 250 Hz, as
	// the system call tells.
	coarseRes = 4_000_000
)

// emitNow puts the time into rax, in nanoseconds: the monotonic one, and with all
// bits of r8 set that of day. It goes to the label system if it cannot. It uses
// rax, rcx, rdx, r9, r10 and r11.
func emitNow(a *asm.Assembler, system string) {
	retry, forward := system+" retry", system+" forward"
	data := func(off int32) asm.Mem { return asm.Ptr(asm.R9, off) }
	a.Lea(asm.R9, asm.At("data"))
	a.Label(retry)
	a.Mov(4, asm.R11, data(arch.TimeSeq))
	a.Mov(4, asm.RAX, asm.Imm(1))
	a.Test(4, asm.R11, asm.RAX)
	a.Jcc(asm.NE, system)
	a.Lfence()
	a.Rdtsc()
	a.Shl(8, asm.RDX, 32)
	a.Alu(asm.Or, 8, asm.RAX, asm.RDX)
	a.Alu(asm.Sub, 8, asm.RAX, data(arch.TimeBase))
	a.Jcc(asm.AE, forward)
	a.Mov(4, asm.RAX, asm.Imm(0)) // counters of two CPUs may differ by a little
	a.Label(forward)
	a.Mul(8, data(arch.TimeMult))
	a.Shr(8, asm.RAX, 32)
	a.Shl(8, asm.RDX, 32)
	a.Alu(asm.Or, 8, asm.RAX, asm.RDX)
	a.Alu(asm.Add, 8, asm.RAX, data(arch.TimeMono))
	a.Mov(8, asm.R10, data(arch.TimeReal))
	a.Alu(asm.And, 8, asm.R10, asm.R8)
	a.Alu(asm.Add, 8, asm.RAX, asm.R10)
	a.Lfence()
	a.Alu(asm.Cmp, 4, asm.R11, data(arch.TimeSeq))
	a.Jcc(asm.NE, retry)
}

// emitSplit divides rax into seconds in rax and nanoseconds in rdx.
func emitSplit(a *asm.Assembler) {
	a.Mov(4, asm.RDX, asm.Imm(0))
	a.Mov(4, asm.RCX, asm.Imm(nsPerSecond))
	a.Div(8, asm.RCX)
}

// emitSystem makes the system call instead; the arguments are where the function
// got them.
func emitSystem(a *asm.Assembler, label string, nr int64) {
	a.Label(label)
	a.Mov(4, asm.RAX, asm.Imm(nr))
	a.Syscall()
	a.Ret()
}

// emitClocks goes to a label for some clocks.
func emitClocks(a *asm.Assembler, label string, ids ...asm.Imm) {
	for _, id := range ids {
		a.Alu(asm.Cmp, 4, asm.RDI, id)
		a.Jcc(asm.E, label)
	}
}

func emitClockGettime(a *asm.Assembler) {
	emitClocks(a, "monotonic", unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME)
	emitClocks(a, "realtime", unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE)
	emitSystem(a, "clock_gettime", unix.SYS_CLOCK_GETTIME)
	a.Label("monotonic")
	a.Mov(4, asm.R8, asm.Imm(0))
	a.Jmp("clock")
	a.Label("realtime")
	a.Mov(8, asm.R8, asm.Imm(-1))
	a.Label("clock")
	emitNow(a, "clock_gettime")
	emitSplit(a)
	a.Mov(8, asm.Ptr(asm.RSI, 0), asm.RAX)
	a.Mov(8, asm.Ptr(asm.RSI, 8), asm.RDX)
	a.Mov(4, asm.RAX, asm.Imm(0))
	a.Ret()
}

func emitGettimeofday(a *asm.Assembler) {
	a.Test(8, asm.RDI, asm.RDI)
	a.Jcc(asm.E, "zone")
	a.Mov(8, asm.R8, asm.Imm(-1))
	emitNow(a, "gettimeofday")
	emitSplit(a)
	a.Mov(8, asm.Ptr(asm.RDI, 0), asm.RAX)
	a.Mov(8, asm.RAX, asm.RDX)
	a.Mov(4, asm.RDX, asm.Imm(0))
	a.Mov(4, asm.RCX, asm.Imm(1000))
	a.Div(8, asm.RCX)
	a.Mov(8, asm.Ptr(asm.RDI, 8), asm.RAX)
	a.Label("zone")
	a.Test(8, asm.RSI, asm.RSI)
	a.Jcc(asm.E, "zoneless")
	a.Mov(8, asm.Ptr(asm.RSI, 0), asm.Imm(0))
	a.Label("zoneless")
	a.Mov(4, asm.RAX, asm.Imm(0))
	a.Ret()
	emitSystem(a, "gettimeofday", unix.SYS_GETTIMEOFDAY)
}

func emitTime(a *asm.Assembler) {
	a.Mov(8, asm.R8, asm.Imm(-1))
	emitNow(a, "time")
	emitSplit(a)
	a.Test(8, asm.RDI, asm.RDI)
	a.Jcc(asm.E, "timeless")
	a.Mov(8, asm.Ptr(asm.RDI, 0), asm.RAX)
	a.Label("timeless")
	a.Ret()
	emitSystem(a, "time", unix.SYS_TIME)
}

func emitClockGetres(a *asm.Assembler) {
	emitClocks(a, "fine", unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME)
	emitClocks(a, "coarse", unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE)
	emitSystem(a, "clock_getres", unix.SYS_CLOCK_GETRES)
	a.Label("coarse")
	a.Mov(4, asm.RCX, asm.Imm(coarseRes))
	a.Jmp("resolution")
	a.Label("fine")
	a.Mov(4, asm.RCX, asm.Imm(1))
	a.Label("resolution")
	a.Mov(4, asm.RAX, asm.Imm(0))
	a.Test(8, asm.RSI, asm.RSI)
	a.Jcc(asm.E, "no place")
	a.Mov(8, asm.Ptr(asm.RSI, 0), asm.RAX)
	a.Mov(8, asm.Ptr(asm.RSI, 8), asm.RCX)
	a.Label("no place")
	a.Ret()
}

// emitGetcpu knows the answer where there is only one.
func emitGetcpu(a *asm.Assembler) {
	a.Lea(asm.R9, asm.At("data"))
	a.Alu(asm.Cmp, 4, asm.Ptr(asm.R9, arch.TimeCPUs), asm.Imm(1))
	a.Jcc(asm.NE, "getcpu")
	a.Mov(4, asm.RAX, asm.Imm(0))
	for i, r := range []asm.Reg{asm.RDI, asm.RSI} {
		next := fmt.Sprintf("getcpu %d", i)
		a.Test(8, r, r)
		a.Jcc(asm.E, next)
		a.Mov(4, asm.Ptr(r, 0), asm.RAX)
		a.Label(next)
	}
	a.Ret()
	emitSystem(a, "getcpu", unix.SYS_GETCPU)
}

// VDSO implements arch.Counter.
func (*Arch) VDSO() ([]byte, error) {
	const codeAt = 0x600
	a := asm.New(codeAt)
	a.Outside("data", ^uint64(pageSize-1)) // one page below address 0 of the image
	symbols := make([]vdsoSymbol, 0, 2*len(vdsoFunctions))
	for _, f := range vdsoFunctions {
		a.Align(16)
		at := a.Len()
		a.Label(f.name)
		f.emit(a)
		s := vdsoSymbol{f.name, uint64(codeAt + at), uint64(a.Len() - at), false}
		weak := s
		weak.name, weak.weak = f.name[len("__vdso_"):], true
		symbols = append(symbols, s, weak)
	}
	code, err := a.Assemble()
	if err != nil {
		return nil, err
	}
	image := vdsoImage(symbols)
	if len(image) > codeAt || codeAt+len(code) > pageSize*arch.VDSOPages {
		return nil, fmt.Errorf("a VDSO of %d bytes of tables and %d of code does not fit", len(image), len(code))
	}
	image = append(image, make([]byte, pageSize*arch.VDSOPages-len(image))...)
	copy(image[codeAt:], code)
	return image, nil
}

type vdsoSymbol struct {
	name     string
	at, size uint64
	weak     bool
}

// put appends fixed-size values in the file's byte order.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic("BUG: no fixed size: " + err.Error())
		}
	}
}
