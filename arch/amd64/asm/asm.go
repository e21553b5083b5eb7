package asm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Operand is a Reg, a Mem or an Imm.
type Operand interface{ operand() }

// Reg is a general register; its value is the number that encodings use.
type Reg uint8

// The general registers.
const (
	RAX Reg = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
	noReg
)

// Mem is a memory operand. Build it with Ptr, Idx or At.
type Mem struct {
	base, index Reg
	scale       uint8
	disp        int32
	label       string
}

// Imm is an immediate operand.
type Imm int64

// Reads says that the operand's address depends on r.
func (m Mem) Reads(r Reg) bool { return m.base == r || m.index == r }

func (Reg) operand() {}
func (Mem) operand() {}
func (Imm) operand() {}

// Ptr is [base+disp].
func Ptr(base Reg, disp int32) Mem { return Mem{base: base, index: noReg, disp: disp} }

// Idx is [base+index*scale+disp]; scale is 1, 2, 4 or 8.
func Idx(base, index Reg, scale uint8, disp int32) Mem {
	return Mem{base: base, index: index, scale: scale, disp: disp}
}

// At is the place of a label, addressed relative to the instruction pointer.
func At(label string) Mem { return Mem{base: noReg, index: noReg, label: label} }

// Op names a two-operand arithmetic instruction by its opcode group number.
type Op uint8

// The arithmetic group (Intel SDM volume 2, appendix A, group 1).
const (
	Add Op = 0
	Or  Op = 1
	And Op = 4
	Sub Op = 5
	Xor Op = 6
	Cmp Op = 7
)

// Cond is a condition code.
type Cond uint8

// Condition codes for Jcc.
const (
	B  Cond = 0x2 // below (unsigned), carry
	AE Cond = 0x3
	E  Cond = 0x4
	NE Cond = 0x5
	BE Cond = 0x6
	A  Cond = 0x7
	S  Cond = 0x8
	NS Cond = 0x9
	L  Cond = 0xc
	GE Cond = 0xd
	LE Cond = 0xe
	G  Cond = 0xf
)

type fixup struct {
	at    int // offset of the 32-bit displacement
	end   int // offset the displacement is relative to; 0: absolute 64-bit
	label string
}

// Assembler collects code. The zero value is not usable; call New.
type Assembler struct {
	base   uint64
	buf    []byte
	labels map[string]int
	order  []string
	fixups []fixup
	errs   []error
}

// New starts a program that will be loaded at base.
func New(base uint64) *Assembler {
	return &Assembler{base: base, labels: make(map[string]int)}
}

// Assemble resolves the labels and returns the bytes.
func (a *Assembler) Assemble() ([]byte, error) {
	for _, f := range a.fixups {
		to, ok := a.labels[f.label]
		switch {
		case !ok:
			a.fail("no label %q", f.label)
		case f.end == 0:
			binary.LittleEndian.PutUint64(a.buf[f.at:], a.base+uint64(to))
		default:
			binary.LittleEndian.PutUint32(a.buf[f.at:], uint32(to-f.end))
		}
	}
	a.fixups = nil
	return a.buf, errors.Join(a.errs...)
}

// Len is the number of bytes so far.
func (a *Assembler) Len() int { return len(a.buf) }

// Labels lists the labels in the order in which they were defined.
func (a *Assembler) Labels() []string { return a.order }

// Offset is a defined label's offset from the start.
func (a *Assembler) Offset(label string) (int, bool) {
	off, ok := a.labels[label]
	return off, ok
}

// Label defines a label here.
func (a *Assembler) Label(name string) *Assembler {
	if _, dup := a.labels[name]; dup {
		a.fail("label %q defined twice", name)
	}
	a.labels[name] = len(a.buf)
	a.order = append(a.order, name)
	return a
}

// Outside names an address that is not part of the program, for At.
func (a *Assembler) Outside(name string, addr uint64) {
	if old, dup := a.labels[name]; dup && old != int(addr-a.base) {
		a.fail("label %q defined twice", name)
	}
	a.labels[name] = int(addr - a.base)
}

// Bytes, Zero, Align and Quad emit data.
func (a *Assembler) Bytes(p []byte) *Assembler { a.buf = append(a.buf, p...); return a }

// Zero emits n zero bytes.
func (a *Assembler) Zero(n int) *Assembler { return a.Bytes(make([]byte, n)) }

// Align pads with int3 up to a multiple of n bytes.
func (a *Assembler) Align(n int) *Assembler {
	for len(a.buf)%n != 0 {
		a.buf = append(a.buf, 0xcc)
	}
	return a
}

// Quad emits a 64-bit word.
func (a *Assembler) Quad(v uint64) *Assembler {
	a.buf = binary.LittleEndian.AppendUint64(a.buf, v)
	return a
}

// QuadLabel emits the absolute address of a label.
func (a *Assembler) QuadLabel(label string) *Assembler {
	a.fixups = append(a.fixups, fixup{at: len(a.buf), label: label})
	return a.Quad(0)
}

func (a *Assembler) fail(format string, args ...any) {
	a.errs = append(a.errs, fmt.Errorf("asm: at offset %#x: %s", len(a.buf), fmt.Sprintf(format, args...)))
}

// rm emits [prefix] [REX] opcode ModRM [SIB] [disp] for one register-sized
// field and one register-or-memory operand. immLen is the number of immediate
// bytes that will follow, which RIP-relative addressing has to know.
func (a *Assembler) rm(size int, opcode []byte, reg Reg, rm Operand, immLen int) {
	rex, prefix := byte(0), []byte(nil)
	if size == 8 {
		rex |= 0x48
	}
	if size == 2 {
		prefix = []byte{0x66}
	}
	if reg > 7 {
		rex |= 0x44
	}
	// Byte registers 4-7 mean ah..bh without a REX prefix.
	if size == 1 && reg >= RSP && reg <= RDI {
		rex |= 0x40
	}
	var tail []byte
	var fix *fixup
	field := byte(reg&7) << 3
	switch m := rm.(type) {
	case Reg:
		if m > 7 {
			rex |= 0x41
		}
		if size == 1 && m >= RSP && m <= RDI {
			rex |= 0x40
		}
		tail = []byte{0xc0 | field | byte(m&7)}
	case Mem:
		if m.label != "" {
			tail = []byte{0x05 | field, 0, 0, 0, 0}
			fix = &fixup{label: m.label}
			break
		}
		var b byte
		b, tail = a.mem(m, field)
		rex |= b
	default:
		a.fail("operand %v is neither register nor memory", rm)
		return
	}
	a.buf = append(a.buf, prefix...)
	if rex != 0 {
		a.buf = append(a.buf, rex|0x40)
	}
	a.buf = append(a.buf, opcode...)
	a.buf = append(a.buf, tail...)
	if fix != nil {
		fix.at, fix.end = len(a.buf)-4, len(a.buf)+immLen
		a.fixups = append(a.fixups, *fix)
	}
}

func (a *Assembler) mem(m Mem, field byte) (rex byte, tail []byte) {
	if m.base > 7 {
		rex |= 0x41
	}
	mod, disp := byte(0x80), binary.LittleEndian.AppendUint32(nil, uint32(m.disp))
	switch {
	case m.disp == 0 && m.base&7 != RBP:
		mod, disp = 0, nil
	case m.disp >= math.MinInt8 && m.disp <= math.MaxInt8:
		mod, disp = 0x40, disp[:1]
	}
	if m.index == noReg && m.base&7 != RSP {
		return rex, append([]byte{mod | field | byte(m.base&7)}, disp...)
	}
	sib := byte(0x20) | byte(m.base&7) // no index
	if m.index != noReg {
		if m.index == RSP {
			a.fail("rsp cannot be an index")
		}
		if m.index > 7 {
			rex |= 0x42
		}
		scale, ok := map[uint8]byte{1: 0, 2: 0x40, 4: 0x80, 8: 0xc0}[m.scale]
		if !ok {
			a.fail("scale %d is none of 1, 2, 4 and 8", m.scale)
		}
		sib = scale | byte(m.index&7)<<3 | byte(m.base&7)
	}
	return rex, append([]byte{mod | field | 4, sib}, disp...)
}
