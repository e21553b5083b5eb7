package asm

import (
	"encoding/binary"
	"math"
)

// op gives the opcode for an operand size: the byte form is one below.
func op(size int, wide byte) []byte {
	if size == 1 {
		return []byte{wide - 1}
	}
	return []byte{wide}
}

// fits reports an immediate that an operand of size bytes cannot take: neither
// as a signed nor as an unsigned number, and with 8 bytes only what a sign
// extension of 32 bits gives.
func (a *Assembler) fits(size int, v Imm) {
	lo, hi := Imm(-1)<<(8*size-1), Imm(1)<<(8*size)-1
	if size == 8 {
		lo, hi = math.MinInt32, math.MaxInt32
	}
	if v < lo || v > hi {
		a.fail("immediate %#x does not fit", int64(v))
	}
}

func (a *Assembler) imm(size int, v int64) {
	switch size {
	case 1:
		a.buf = append(a.buf, byte(v))
	case 2:
		a.buf = binary.LittleEndian.AppendUint16(a.buf, uint16(v))
	default:
		a.buf = binary.LittleEndian.AppendUint32(a.buf, uint32(v))
	}
}

// Mov copies size bytes. A register loaded with an immediate takes the
// shortest form that gives the 64-bit value.
func (a *Assembler) Mov(size int, dst, src Operand) {
	switch s := src.(type) {
	case Imm:
		if r, ok := dst.(Reg); ok && size >= 4 {
			if size == 4 {
				a.fits(size, s)
			}
			a.movImm(size, r, int64(s))
			return
		}
		a.fits(size, s)
		n := min(size, 4)
		a.rm(size, op(size, 0xc7), 0, dst, n)
		a.imm(n, int64(s))
	case Reg:
		a.rm(size, op(size, 0x89), s, dst, 0)
	case Mem:
		d, ok := dst.(Reg)
		if !ok {
			a.fail("mov from memory to memory")
			return
		}
		a.rm(size, op(size, 0x8b), d, s, 0)
	}
}

func (a *Assembler) movImm(size int, r Reg, v int64) {
	rex := byte(0x40)
	if r > 7 {
		rex |= 1
	}
	switch {
	case size == 4 || v >= 0 && v <= math.MaxUint32: // zero-extended
		if rex != 0x40 {
			a.buf = append(a.buf, rex)
		}
		a.buf = append(a.buf, 0xb8|byte(r&7))
		a.imm(4, v)
	case v >= math.MinInt32 && v < 0: // sign-extended
		a.buf = append(a.buf, rex|8, 0xc7, 0xc0|byte(r&7))
		a.imm(4, v)
	default:
		a.buf = append(a.buf, rex|8, 0xb8|byte(r&7))
		a.buf = binary.LittleEndian.AppendUint64(a.buf, uint64(v))
	}
}

// MovLabel loads the absolute address of a label.
func (a *Assembler) MovLabel(r Reg, label string) {
	rex := byte(0x48)
	if r > 7 {
		rex |= 1
	}
	a.buf = append(a.buf, rex, 0xb8|byte(r&7))
	a.QuadLabel(label)
}

// Movzx loads a byte or a word (from = 1 or 2) with zero extension to 64 bits.
func (a *Assembler) Movzx(from int, dst Reg, src Operand) {
	code := byte(0xb6)
	if from == 2 {
		code = 0xb7
	}
	a.rm(8, []byte{0x0f, code}, dst, src, 0)
}

// Movsxd loads a 32-bit value with sign extension.
func (a *Assembler) Movsxd(dst Reg, src Operand) { a.rm(8, []byte{0x63}, dst, src, 0) }

// Lea loads the address of m.
func (a *Assembler) Lea(dst Reg, m Mem) { a.rm(8, []byte{0x8d}, dst, m, 0) }

// Alu is dst = dst op src (Cmp only sets flags).
func (a *Assembler) Alu(o Op, size int, dst, src Operand) {
	switch s := src.(type) {
	case Imm:
		if size != 1 && s >= math.MinInt8 && s <= math.MaxInt8 {
			a.rm(size, []byte{0x83}, Reg(o), dst, 1)
			a.imm(1, int64(s))
			return
		}
		a.fits(size, s)
		n := min(size, 4)
		a.rm(size, op(size, 0x81), Reg(o), dst, n)
		a.imm(n, int64(s))
	case Reg:
		a.rm(size, op(size, byte(o)<<3|1), s, dst, 0)
	case Mem:
		d, ok := dst.(Reg)
		if !ok {
			a.fail("arithmetic from memory to memory")
			return
		}
		a.rm(size, op(size, byte(o)<<3|3), d, s, 0)
	}
}

// Test sets flags from dst & src.
func (a *Assembler) Test(size int, dst Operand, src Reg) { a.rm(size, op(size, 0x85), src, dst, 0) }

// Imul is dst *= src.
func (a *Assembler) Imul(size int, dst Reg, src Operand) {
	a.rm(size, []byte{0x0f, 0xaf}, dst, src, 0)
}

// Mul multiplies rax by the operand; the product is rdx:rax.
func (a *Assembler) Mul(size int, by Operand) { a.rm(size, op(size, 0xf7), 4, by, 0) }

// Div divides rdx:rax by the operand; the quotient is rax, the rest rdx.
func (a *Assembler) Div(size int, by Operand) { a.rm(size, op(size, 0xf7), 6, by, 0) }

// Shl and Shr shift by a constant.
func (a *Assembler) Shl(size int, dst Operand, n uint8) { a.shift(size, 4, dst, n) }

// Shr is the logical right shift.
func (a *Assembler) Shr(size int, dst Operand, n uint8) { a.shift(size, 5, dst, n) }

func (a *Assembler) shift(size int, field Reg, dst Operand, n uint8) {
	a.rm(size, op(size, 0xc1), field, dst, 1)
	a.imm(1, int64(n))
}

// Inc and Dec add or take one.
func (a *Assembler) Inc(size int, dst Operand) { a.rm(size, op(size, 0xff), 0, dst, 0) }

// Dec takes one.
func (a *Assembler) Dec(size int, dst Operand) { a.rm(size, op(size, 0xff), 1, dst, 0) }

// Neg is dst = -dst.
func (a *Assembler) Neg(size int, dst Operand) { a.rm(size, op(size, 0xf7), 3, dst, 0) }

// Xchg swaps a register with an operand; with memory it is atomic.
func (a *Assembler) Xchg(size int, dst Operand, src Reg) { a.rm(size, op(size, 0x87), src, dst, 0) }

// Push and Pop work on 64-bit registers.
func (a *Assembler) Push(r Reg) { a.short(0x50, r) }

// Pop takes a register off the stack.
func (a *Assembler) Pop(r Reg) { a.short(0x58, r) }

func (a *Assembler) short(code byte, r Reg) {
	if r > 7 {
		a.buf = append(a.buf, 0x41)
	}
	a.buf = append(a.buf, code|byte(r&7))
}

func (a *Assembler) rel32(label string, code ...byte) {
	a.buf = append(a.buf, code...)
	a.buf = append(a.buf, 0, 0, 0, 0)
	a.fixups = append(a.fixups, fixup{at: len(a.buf) - 4, end: len(a.buf), label: label})
}

// Jmp jumps to a label.
func (a *Assembler) Jmp(label string) { a.rel32(label, 0xe9) }

// Jcc jumps to a label if the condition holds.
func (a *Assembler) Jcc(c Cond, label string) { a.rel32(label, 0x0f, 0x80|byte(c)) }

// Call calls a label.
func (a *Assembler) Call(label string) { a.rel32(label, 0xe8) }

// JmpTo jumps to the address in an operand.
func (a *Assembler) JmpTo(o Operand) { a.rm(4, []byte{0xff}, 4, o, 0) }

// CallTo calls the address in an operand.
func (a *Assembler) CallTo(o Operand) { a.rm(4, []byte{0xff}, 2, o, 0) }

// Ret returns.
func (a *Assembler) Ret() { a.buf = append(a.buf, 0xc3) }

// Syscall is the 64-bit system call instruction.
func (a *Assembler) Syscall() { a.buf = append(a.buf, 0x0f, 0x05) }

// Ud2 raises SIGILL.
func (a *Assembler) Ud2() { a.buf = append(a.buf, 0x0f, 0x0b) }

// Int3 is a breakpoint.
func (a *Assembler) Int3() { a.buf = append(a.buf, 0xcc) }

// Pause is the spin-loop hint.
func (a *Assembler) Pause() { a.buf = append(a.buf, 0xf3, 0x90) }

// Nop does nothing.
func (a *Assembler) Nop() { a.buf = append(a.buf, 0x90) }

// Lfence waits for the loads before it; Rdtsc reads the CPU's counter into
// edx:eax.
func (a *Assembler) Lfence() { a.buf = append(a.buf, 0x0f, 0xae, 0xe8) }

// Rdtsc is explained with Lfence.
func (a *Assembler) Rdtsc() { a.buf = append(a.buf, 0x0f, 0x31) }

// Cld clears the direction flag.
func (a *Assembler) Cld() { a.buf = append(a.buf, 0xfc) }

// RepMovsb and RepStosb copy and fill rcx bytes.
func (a *Assembler) RepMovsb() { a.buf = append(a.buf, 0xf3, 0xa4) }

// RepStosb fills rcx bytes at rdi with al.
func (a *Assembler) RepStosb() { a.buf = append(a.buf, 0xf3, 0xaa) }

// Iretq takes rip, cs, rflags, rsp and ss off the stack.
func (a *Assembler) Iretq() { a.buf = append(a.buf, 0x48, 0xcf) }

// Xrstor64 loads the extended state components of edx:eax from m.
func (a *Assembler) Xrstor64(m Mem) { a.rm(8, []byte{0x0f, 0xae}, 5, m, 0) }

// Base is one of the instructions that read or write a segment base (FSGSBASE).
type Base uint8

// The four of them, by their field in the encoding.
const (
	RdFS Base = iota
	RdGS
	WrFS
	WrGS
)

// BaseOp moves a segment base to or from a register.
func (a *Assembler) BaseOp(b Base, r Reg) {
	a.buf = append(a.buf, 0xf3)
	a.rm(8, []byte{0x0f, 0xae}, Reg(b), r, 0)
}
