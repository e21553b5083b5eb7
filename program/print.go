package program

import (
	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// lineSize bounds what one Print may put out; numbers take up to 20.
const (
	lineSize   = 1024
	numberSize = 20
)

// Print writes to standard output, with one system call: strings as they are,
// everything else as an unsigned decimal number. A value may be in any register;
// a memory operand may not be on the stack, which Print uses.
func (p *Program) Print(parts ...any) { p.Fprint(1, parts...) }

// Fprint is Print to another descriptor.
func (p *Program) Fprint(fd int, parts ...any) {
	if len(parts) == 1 {
		if s, ok := parts[0].(string); ok {
			p.Sys(unix.SYS_WRITE, fd, s, len(s))
			return
		}
	}
	p.routines()
	// First the values, while their registers still hold them.
	size, values := 0, int32(0)
	for _, part := range parts {
		if s, ok := part.(string); ok {
			size += len(s)
			continue
		}
		if m, ok := part.(asm.Mem); ok && m.Reads(asm.RSP) || part == asm.RSP {
			p.fail("print: a value on the stack")
		}
		size += numberSize
		if r, ok := part.(asm.Reg); ok {
			p.Push(r)
		} else {
			// Through the stack, so that rax stays as later parts expect it.
			p.Push(asm.RAX)
			p.Load(asm.RAX, part)
			p.Xchg(8, asm.Ptr(asm.RSP, 0), asm.RAX)
		}
		values++
	}
	if size > lineSize {
		p.fail("print: %d bytes do not fit into a line", size)
	}
	p.Lea(asm.RDI, asm.At(".line"))
	slot := values
	for _, part := range parts {
		if s, ok := part.(string); ok {
			p.Load(asm.RSI, s)
			p.Mov(8, asm.RCX, asm.Imm(len(s)))
			p.RepMovsb()
			continue
		}
		slot--
		p.Mov(8, asm.RAX, asm.Ptr(asm.RSP, slot*8))
		p.Call(".decimal")
	}
	if values > 0 {
		p.Alu(asm.Add, 8, asm.RSP, asm.Imm(values*8))
	}
	p.Mov(8, asm.RDX, asm.RDI)
	p.Lea(asm.RSI, asm.At(".line"))
	p.Alu(asm.Sub, 8, asm.RDX, asm.RSI)
	p.Mov(8, asm.RDI, asm.Imm(fd))
	p.Mov(8, asm.RAX, asm.Imm(unix.SYS_WRITE))
	p.Syscall()
}

// routines adds the text and data that Fprint needs.
func (p *Program) routines() {
	if !p.once(".decimal") {
		return
	}
	p.Reserve(".line", lineSize, 8)
	p.Reserve(".digits", numberSize, 8)
	// Appends rax in decimal at rdi, which moves on.
	p.Func(".decimal", func() {
		p.Lea(asm.RSI, asm.At(".digits"))
		p.Alu(asm.Add, 8, asm.RSI, asm.Imm(numberSize))
		p.Mov(8, asm.RCX, asm.RSI)
		p.Mov(8, asm.R8, asm.Imm(10))
		p.Label(".digit")
		p.Mov(8, asm.RDX, asm.Imm(0))
		p.Div(8, asm.R8)
		p.Alu(asm.Add, 8, asm.RDX, asm.Imm('0'))
		p.Dec(8, asm.RSI)
		p.Mov(1, asm.Ptr(asm.RSI, 0), asm.RDX)
		p.Test(8, asm.RAX, asm.RAX)
		p.Jcc(asm.NE, ".digit")
		p.Alu(asm.Sub, 8, asm.RCX, asm.RSI)
		p.RepMovsb()
	})
}
