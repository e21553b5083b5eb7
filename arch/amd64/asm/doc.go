// Package asm is a small amd64 assembler: enough for the stub's code, the
// stub's start-up program and the embedded guest programs, and no more. There
// is no compiler between a line here and the bytes that run, which is what
// lets tests compare the stub with golden bytes and lets the sealed guard
// reason about every instruction.
//
// One turn: New at a base address, emit instructions with operands (Reg, Mem,
// Imm, and labels by name), then Assemble, which resolves labels and reports
// every mistake made on the way at once. Jumps are always the 32-bit form, so
// an instruction's length never depends on where its label lies.
//
//	a := asm.New(0x401000)
//	a.Mov(8, asm.RDI, asm.Imm(1))
//	a.Label("again")
//	a.Alu(asm.Sub, 8, asm.RDI, asm.Imm(1))
//	a.Jcc(asm.NE, "again")
//	a.Lea(asm.RSI, asm.At("text"))
//	a.Syscall()
//	a.Label("text").Bytes([]byte("hello\n"))
//	code, err := a.Assemble()
//
// Mistakes are programming errors of this project: they come back as one
// error, which callers that assemble constant programs may treat as a bug.
package asm
