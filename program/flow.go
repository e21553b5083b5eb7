package program

import "goskas/arch/amd64/asm"

// Loop runs body with counter = n, n-1, ... 1. The body has to keep counter.
func (p *Program) Loop(counter asm.Reg, n any, body func()) {
	p.Load(counter, n)
	p.While(func(end string) {
		p.Test(8, counter, counter)
		p.Jcc(asm.E, end)
		body()
		p.Dec(8, counter)
	})
}

// While runs body again and again, until it jumps to the label end.
func (p *Program) While(body func(end string)) {
	again, end := p.Fresh(), p.Fresh()
	p.Label(again)
	body(end)
	p.Jmp(again)
	p.Label(end)
}

// If runs body if a op b holds, for values of 8 bytes; see asm.Alu for what a
// and b can be.
func (p *Program) If(a asm.Operand, op asm.Cond, b asm.Operand, body func()) {
	end := p.Fresh()
	p.Alu(asm.Cmp, 8, a, b)
	p.Jcc(op^1, end) // the lowest bit of a condition inverts it
	body()
	p.Label(end)
}

// Func defines a function, to be reached by Call. Its text lies behind what is
// emitted in line; a return is added at the end.
func (p *Program) Func(name string, body func()) {
	p.later = append(p.later, func() {
		p.Label(name)
		body()
		p.Ret()
	})
}
