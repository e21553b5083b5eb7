package realuml

import (
	"encoding/binary"

	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// general are the registers that a system call keeps, but for the stack's.
var general = []asm.Reg{
	asm.RBX, asm.RDX, asm.RBP, asm.RSI, asm.RDI, asm.R8, asm.R9, asm.R10, asm.R12, asm.R13, asm.R14, asm.R15,
}

func pattern(i int) int64 { return int64(0x1111_2222_0000_0000) + int64(i)*0x0101_0101 }

func registersOverCalls(p *program.Program) {
	registers(p, func() {
		p.Mov(8, asm.RAX, asm.Imm(unix.SYS_GETPPID))
		p.Syscall()
	})
}

func registersOverTicks(p *program.Program) {
	registers(p, func() {
		// Long enough for dozens of ticks. rcx and r11 are not checked, since
		// a system call takes them.
		again := p.Fresh()
		p.Mov(8, asm.RCX, asm.Imm(300_000_000))
		p.Label(again)
		p.Dec(8, asm.RCX)
		p.Jcc(asm.NE, again)
	})
}

// xsaveSize is more than any CPU's extended state without AMX.
const xsaveSize = 8192

// registers fills all registers, does something and prints which have changed.
func registers(p *program.Program, do func()) {
	fill(p)
	p.Reserve("xbefore", xsaveSize, 64)
	p.Reserve("xafter", xsaveSize, 64)
	p.Reserve("after", 16*8, 8)
	p.Reserve("flags", 16, 8)
	p.Reserve("stack", 8, 8)
	xsave(p, "xbefore")
	p.Mov(8, asm.At("stack"), asm.RSP)
	// Flags that a program can set and that mean nothing to the CPU here:
	// carry, parity, auxiliary, sign, overflow; and ID.
	const flags = 0x1 | 0x4 | 0x10 | 0x80 | 0x800 | 0x200000
	p.Bytes([]byte{0x9c})
	p.Alu(asm.Or, 8, asm.Ptr(asm.RSP, 0), asm.Imm(flags))
	for i, r := range general {
		p.Mov(8, r, asm.Imm(pattern(i)))
	}
	p.Bytes([]byte{0x9d})
	do()
	p.Bytes([]byte{0x9c})
	p.Mov(8, asm.At("after"), asm.RBX)
	p.Lea(asm.RBX, asm.At("after"))
	for i, r := range general[1:] {
		p.Mov(8, asm.Ptr(asm.RBX, int32(8*(i+1))), r)
	}
	p.Pop(asm.RAX)
	p.Mov(8, asm.At("flags"), asm.RAX)
	xsave(p, "xafter")

	p.Alu(asm.Xor, 4, asm.R12, asm.R12)
	for i := range general {
		p.Mov(8, asm.RAX, asm.Imm(pattern(i)))
		p.Lea(asm.RBX, asm.At("after"))
		p.If(asm.RAX, asm.NE, asm.Ptr(asm.RBX, int32(8*i)), func() { p.Alu(asm.Or, 8, asm.R12, asm.Imm(1<<i)) })
	}
	p.Print("general registers that changed: ", asm.R12, "\n")
	p.Mov(8, asm.RAX, asm.At("stack"))
	p.Alu(asm.Sub, 8, asm.RAX, asm.RSP)
	p.Print("stack pointer moved: ", asm.RAX, "\n")
	p.Mov(8, asm.RAX, asm.At("flags"))
	p.Alu(asm.And, 8, asm.RAX, asm.Imm(0x200000|0x400|0x100))
	p.Print("flags: ", asm.RAX, "\n")
	// The legacy area, then all behind the header, whose bits say which parts
	// are in use: that may change, and the contents may not.
	count(p, "x87 and SSE", 0, 512)
	count(p, "extended state", 576, xsaveSize)
}

// count prints how many words of two areas differ.
func count(p *program.Program, name string, from, to int32) {
	p.Lea(asm.RBX, asm.At("xbefore"))
	p.Lea(asm.RBP, asm.At("xafter"))
	p.Alu(asm.Xor, 4, asm.R12, asm.R12)
	p.Mov(8, asm.R13, asm.Imm(int64(from)))
	p.While(func(end string) {
		p.Alu(asm.Cmp, 8, asm.R13, asm.Imm(int64(to)))
		p.Jcc(asm.AE, end)
		p.Mov(8, asm.RAX, asm.Idx(asm.RBX, asm.R13, 1, 0))
		p.If(asm.RAX, asm.NE, asm.Idx(asm.RBP, asm.R13, 1, 0), func() { p.Inc(8, asm.R12) })
		p.Alu(asm.Add, 8, asm.R13, asm.Imm(8))
	})
	p.Print("words of "+name+" that changed: ", asm.R12, "\n")
}

func xsave(p *program.Program, label string) {
	p.Lea(asm.RBX, asm.At(label))
	p.Mov(8, asm.RAX, asm.Imm(-1))
	p.Mov(8, asm.RDX, asm.Imm(-1))
	p.Bytes([]byte{0x48, 0x0f, 0xae, 0x23}) // xsave64 [rbx]
}

// fill gives every extended register that the CPU has a value of its own.
func fill(p *program.Program) {
	values := make([]byte, 32*64)
	for i := range values {
		values[i] = byte(i*7 + i/64)
	}
	p.Data("values", values)
	p.Data("control", []byte{0x7f, 0x0e, 0, 0, 0x80, 0x3f, 0, 0}) // x87 control word, MXCSR: round down, up; all masked
	p.Lea(asm.RBX, asm.At("control"))
	p.Bytes([]byte{0xd9, 0x2b})             // fldcw [rbx]
	p.Bytes([]byte{0x0f, 0xae, 0x53, 0x04}) // ldmxcsr [rbx+4]
	for _, constant := range []byte{0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed} {
		p.Bytes([]byte{0xd9, constant}) // fld1, fldl2t, fldl2e, fldpi, fldlg2, fldln2
	}
	p.Lea(asm.RBX, asm.At("values"))
	for r := range 32 {
		at := binary.LittleEndian.AppendUint32(nil, uint32(64*r))
		mod := byte(0x83 | (r&7)<<3) // [rbx+disp32]
		switch {
		case cpu.X86.HasAVX512F:
			rex := byte(0xf1)
			if r&8 != 0 {
				rex &^= 0x80
			}
			if r&16 != 0 {
				rex &^= 0x10
			}
			p.Bytes([]byte{0x62, rex, 0xfe, 0x48, 0x6f, mod}).Bytes(at) // vmovdqu64 zmm
		case r >= 16:
		case cpu.X86.HasAVX:
			vex := byte(0xfe)
			if r&8 != 0 {
				vex = 0x7e
			}
			p.Bytes([]byte{0xc5, vex, 0x6f, mod}).Bytes(at) // vmovdqu ymm
		default:
			rex := byte(0x40)
			if r&8 != 0 {
				rex = 0x44
			}
			p.Bytes([]byte{0xf3, rex, 0x0f, 0x6f, mod}).Bytes(at) // movdqu xmm
		}
	}
	if cpu.X86.HasAVX512BW {
		p.Mov(8, asm.RAX, asm.Imm(0x0123_4567_89ab_cdef))
		for k := range byte(8) {
			p.Bytes([]byte{0xc4, 0xe1, 0xfb, 0x92, 0xc0 | k<<3}) // kmovq k, rax
		}
	}
}
