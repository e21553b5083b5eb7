package asm

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

var sizeName = map[int]string{1: "byte", 2: "word", 4: "dword", 8: "qword"}

// name is a register's name at a size.
func (r Reg) name(size int) string {
	if r >= R8 {
		return fmt.Sprintf("r%d", r) + map[int]string{1: "b", 2: "w", 4: "d", 8: ""}[size]
	}
	base := []string{"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"}[r]
	switch size {
	case 1:
		if r < RSP {
			return base[:1] + "l"
		}
		return base + "l"
	case 2:
		return base
	case 4:
		return "e" + base
	}
	return "r" + base
}

func (m Mem) text(size int) string {
	s := m.base.name(8)
	if m.index != noReg && m.scale == 1 {
		s += "+" + m.index.name(8)
	} else if m.index != noReg {
		s += fmt.Sprintf("+%d*%s", m.scale, m.index.name(8))
	}
	switch {
	case m.disp < -128: // the decoder's spelling
		s += fmt.Sprintf("+%#x", uint32(m.disp))
	case m.disp < 0:
		s += fmt.Sprintf("-%#x", -int64(m.disp))
	case m.disp > 0:
		s += fmt.Sprintf("+%#x", m.disp)
	}
	return fmt.Sprintf("%s ptr [%s]", sizeName[size], s)
}

func text(o Operand, size int) string {
	switch o := o.(type) {
	case Reg:
		return o.name(size)
	case Mem:
		return o.text(size)
	}
	panic("no operand")
}

// decode gives the one instruction that emit makes, as an independent decoder
// reads it.
func decode(t *testing.T, want string, emit func(*Assembler)) {
	t.Helper()
	a := New(0)
	emit(a)
	code, err := a.Assemble()
	if err != nil {
		t.Errorf("%s: %v", want, err)
		return
	}
	inst, err := x86asm.Decode(code, 64)
	if err != nil || inst.Len != len(code) {
		t.Errorf("%s: % x: %v, %d of %d bytes", want, code, err, inst.Len, len(code))
		return
	}
	got := strings.TrimPrefix(strings.ToLower(x86asm.IntelSyntax(inst, 0, nil)), "data16 ")
	if got != want {
		t.Errorf("% x decodes as %q, want %q", code, got, want)
	}
}

// operands are all registers, and memory in every form: each base with each
// kind of displacement, each index and scale.
func operands() (list []Operand) {
	for r := RAX; r <= R15; r++ {
		list = append(list, r)
		for _, disp := range []int32{0, 1, 127, -128, 128, -129, 1<<31 - 1, -1 << 31} {
			list = append(list, Ptr(r, disp))
		}
		for _, scale := range []uint8{1, 2, 4, 8} {
			for _, i := range []Reg{RAX, RBP, RDI, R8, R12, R13, R15} {
				list = append(list, Idx(r, i, scale, 0))
			}
			list = append(list, Idx(r, RCX, scale, 5), Idx(r, R12, scale, 1<<20))
		}
	}
	return list
}

// Every instruction with every operand of every size decodes as what was meant.
func TestEveryEncoding(t *testing.T) {
	regs := []Reg{RAX, RSP, RDI, R13}
	ops := map[Op]string{Add: "add", Or: "or", And: "and", Sub: "sub", Xor: "xor", Cmp: "cmp"}
	for _, o := range operands() {
		for _, size := range []int{1, 2, 4, 8} {
			s := text(o, size)
			for _, r := range regs {
				n := r.name(size)
				decode(t, "mov "+s+", "+n, func(a *Assembler) { a.Mov(size, o, r) })
				for op, name := range ops {
					decode(t, name+" "+s+", "+n, func(a *Assembler) { a.Alu(op, size, o, r) })
				}
				decode(t, "test "+s+", "+n, func(a *Assembler) { a.Test(size, o, r) })
				if !(o == RAX && r == RAX) { // that one is a nop
					decode(t, "xchg "+s+", "+n, func(a *Assembler) { a.Xchg(size, o, r) })
				}
				if m, ok := o.(Mem); ok {
					decode(t, "mov "+n+", "+s, func(a *Assembler) { a.Mov(size, r, m) })
					for op, name := range ops {
						decode(t, name+" "+n+", "+s, func(a *Assembler) { a.Alu(op, size, r, m) })
					}
					if size == 8 {
						decode(t, "lea "+n+", "+strings.TrimPrefix(s, "qword "), func(a *Assembler) { a.Lea(r, m) })
					}
				}
				if size == 8 {
					decode(t, "movsxd "+n+", "+text(o, 4), func(a *Assembler) { a.Movsxd(r, o) })
					decode(t, "movzx "+n+", "+text(o, 1), func(a *Assembler) { a.Movzx(1, r, o) })
					decode(t, "movzx "+n+", "+text(o, 2), func(a *Assembler) { a.Movzx(2, r, o) })
				}
				if size >= 4 {
					decode(t, "imul "+n+", "+s, func(a *Assembler) { a.Imul(size, r, o) })
				}
			}
			for name, emit := range map[string]func(a *Assembler){
				"mul": func(a *Assembler) { a.Mul(size, o) },
				"div": func(a *Assembler) { a.Div(size, o) }, "inc": func(a *Assembler) { a.Inc(size, o) },
				"dec": func(a *Assembler) { a.Dec(size, o) }, "neg": func(a *Assembler) { a.Neg(size, o) },
			} {
				decode(t, name+" "+s, emit)
			}
			decode(t, "shl "+s+", 0x3", func(a *Assembler) { a.Shl(size, o, 3) })
			decode(t, "shr "+s+", 0x7", func(a *Assembler) { a.Shr(size, o, 7) })
			if _, ok := o.(Mem); ok {
				decode(t, "mov "+s+", 0x12", func(a *Assembler) { a.Mov(size, o, Imm(0x12)) })
			}
			for op, name := range ops {
				decode(t, name+" "+s+", 0x12", func(a *Assembler) { a.Alu(op, size, o, Imm(0x12)) })
				minus := "-0x1"
				if size == 1 {
					minus = "0xff" // the decoder's spelling
				}
				decode(t, name+" "+s+", "+minus, func(a *Assembler) { a.Alu(op, size, o, Imm(-1)) })
			}
		}
		decode(t, "jmp "+text(o, 8), func(a *Assembler) { a.JmpTo(o) })
		decode(t, "call "+text(o, 8), func(a *Assembler) { a.CallTo(o) })
	}
}

// A register that is loaded with a constant has exactly its value, in every
// form that there is for one.
func TestImmediatesKeepTheirValue(t *testing.T) {
	values := []int64{0, 1, -1, 127, 128, -128, -129, 1<<31 - 1, 1 << 31, -1 << 31, -1<<31 - 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, -1 << 63}
	for r := RAX; r <= R15; r++ {
		for _, v := range values {
			a := New(0)
			a.Mov(8, r, Imm(v))
			code, err := a.Assemble()
			if err != nil {
				t.Fatal(err)
			}
			inst, err := x86asm.Decode(code, 64)
			if err != nil || inst.Len != len(code) || inst.Op != x86asm.MOV {
				t.Fatalf("% x: %v", code, err)
			}
			got, _ := inst.Args[1].(x86asm.Imm)
			value := int64(got)
			if strings.HasPrefix(inst.Args[0].String(), "E") || strings.HasSuffix(inst.Args[0].String(), "L") {
				value = int64(uint32(got)) // a 32-bit move clears the upper half
			}
			if value != v {
				t.Errorf("mov %s, %#x: % x loads %#x (%v)", r.name(8), v, code, value, inst)
			}
		}
	}
}

// Immediates that an instruction cannot hold were once cut to size in silence.
func TestImmediatesThatDoNotFitAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		emit func(*Assembler)
		ok   bool
	}{
		"mov to a qword, too wide":  {func(a *Assembler) { a.Mov(8, Ptr(RAX, 0), Imm(1<<40)) }, false},
		"mov to a qword, sign":      {func(a *Assembler) { a.Mov(8, Ptr(RAX, 0), Imm(1<<31)) }, false},
		"mov to a qword, fits":      {func(a *Assembler) { a.Mov(8, Ptr(RAX, 0), Imm(-1<<31)) }, true},
		"mov to a dword":            {func(a *Assembler) { a.Mov(4, Ptr(RAX, 0), Imm(1<<32)) }, false},
		"mov to a dword, unsigned":  {func(a *Assembler) { a.Mov(4, Ptr(RAX, 0), Imm(1<<32-1)) }, true},
		"mov to a word":             {func(a *Assembler) { a.Mov(2, Ptr(RAX, 0), Imm(1<<16)) }, false},
		"mov to a word, negative":   {func(a *Assembler) { a.Mov(2, Ptr(RAX, 0), Imm(-1<<15)) }, true},
		"mov to a byte":             {func(a *Assembler) { a.Mov(1, Ptr(RAX, 0), Imm(256)) }, false},
		"mov to a byte register":    {func(a *Assembler) { a.Mov(1, RAX, Imm(300)) }, false},
		"mov to a byte, unsigned":   {func(a *Assembler) { a.Mov(1, RAX, Imm(255)) }, true},
		"mov to a 32-bit register":  {func(a *Assembler) { a.Mov(4, RAX, Imm(1<<32)) }, false},
		"add to a byte":             {func(a *Assembler) { a.Alu(Add, 1, RAX, Imm(256)) }, false},
		"add to a word":             {func(a *Assembler) { a.Alu(Add, 2, RAX, Imm(1<<16)) }, false},
		"add to a word, unsigned":   {func(a *Assembler) { a.Alu(Add, 2, RAX, Imm(1<<16-1)) }, true},
		"add to a dword, unsigned":  {func(a *Assembler) { a.Alu(Add, 4, RAX, Imm(1<<32-1)) }, true},
		"add to a qword":            {func(a *Assembler) { a.Alu(Add, 8, RAX, Imm(1<<31)) }, false},
		"a scale that is none":      {func(a *Assembler) { a.Mov(8, RAX, Idx(RBX, RCX, 3, 0)) }, false},
		"rsp as an index":           {func(a *Assembler) { a.Mov(8, RAX, Idx(RBX, RSP, 1, 0)) }, false},
		"r12 as an index":           {func(a *Assembler) { a.Mov(8, RAX, Idx(RBX, R12, 1, 0)) }, true},
		"memory to memory":          {func(a *Assembler) { a.Alu(Add, 8, Ptr(RAX, 0), Ptr(RBX, 0)) }, false},
		"a constant as the operand": {func(a *Assembler) { a.Inc(8, Imm(1)) }, false},
	} {
		a := New(0)
		c.emit(a)
		if _, err := a.Assemble(); (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
