package amd64

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
)

// index is where arch.Regs keeps the registers, by the assembler's numbers.
var index = [...]int{
	asm.RAX: rax, asm.RCX: rcx, asm.RDX: rdx, asm.RBX: rbx, asm.RSP: rsp, asm.RBP: rbp, asm.RSI: rsi, asm.RDI: rdi,
	asm.R8: r8, asm.R9: r9, asm.R10: r10, asm.R11: r11, asm.R12: r12, asm.R13: r13, asm.R14: r14, asm.R15: r15,
}

// Register is the place of a general register in r, for those who play the
// kernel's part to programs of their own.
func Register(r *arch.Regs, g asm.Reg) *uint64 { return &r.GPR[index[g]] }

// Flags is the place of the flags register in r.
func Flags(r *arch.Regs) *uint64 { return &r.GPR[rflags] }

// TrapFlag is the flag that single-steps.
const TrapFlag = flagTF
