package amd64

import (
	"slices"

	"goskas/arch"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
)

// Registers by the number that encodings use.
const (
	regRAX = iota
	regRCX
	regRDX
	regRBX
	regRSP
	regRBP
	regRSI
	regRDI
	regR8
	regR9
	regR10
	regR11
	regR12
	regR13
	regR14
	numRegs = 16
)

// outcome says how a path ended: at a place that the walk was to stop at, at a
// system call, at the way to the guest, at a loop, or dead.
type outcome struct {
	off int
	how string // "stop", "loop", "iretq", "ud2" or the name of a site
	*state
}

// walk follows every path from an offset. Paths end before an instruction in
// stop, at a system call unless through names it, at iretq and ud2, and where
// they come to an instruction for the second time. Jumps to die are not
// followed: that it dies is another rule.
func (v *verifier) walk(off int, s *state, stop []int, through []string, end func(outcome)) {
	die := v.must("die")
	for {
		if off == die {
			return
		}
		if slices.Contains(stop, off) && len(s.path) > 0 {
			end(outcome{off, "stop", s})
			return
		}
		if slices.Contains(s.path, off) {
			end(outcome{off, "loop", s})
			return
		}
		in := v.insns[v.at[off]]
		s.path = append(s.path, off)
		switch {
		case in.Op == x86asm.SYSCALL:
			name := v.sites[off]
			if !slices.Contains(through, name) {
				end(outcome{off, name, s})
				return
			}
			v.called(s)
		case in.Op == x86asm.IRETQ:
			end(outcome{off, "iretq", s})
			return
		case in.Op == x86asm.UD2:
			end(outcome{off, "ud2", s})
			return
		case in.Op == x86asm.JMP:
			off = in.end() + int(in.Args[0].(x86asm.Rel))
			continue
		case isJcc(in.Op):
			taken := s.clone()
			yes, no := relations(in.Op)
			if v.learn(taken, yes) {
				v.walk(in.end()+int(in.Args[0].(x86asm.Rel)), taken, stop, through, end)
			}
			if !v.learn(s, no) {
				return
			}
		default:
			v.step(in, s)
		}
		off = in.end()
	}
}

// gpr is a register operand's number and size; ok is false for what the stub
// has no use for.
func gpr(r x86asm.Reg) (n, size int, ok bool) {
	switch {
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX), 8, true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX), 4, true
	}
	return 0, 0, false
}

// step runs an instruction that does not branch. Rules for single instructions
// are held here, whichever walk comes by.
func (v *verifier) step(in insn, s *state) {
	switch in.Op {
	case x86asm.XRSTOR64:
		v.xrstor(in, s)
		return
	case x86asm.RDFSBASE, x86asm.RDGSBASE:
		v.write(in, s, in.Args[0], 8, v.term(term{kind: segment, c: uint64(in.Op)}))
		return
	case x86asm.WRFSBASE, x86asm.WRGSBASE:
		from := uint64(stubabi.OffSealedNewFS)
		if in.Op == x86asm.WRGSBASE {
			from = stubabi.OffSealedNewGS
		}
		if !v.isData(v.read(in, s, in.Args[0], 8), from, 8) {
			v.find(in.off, "%v: a base that is not the monitor's", in)
		}
		return
	case x86asm.LEA:
		r, isReg := in.Args[0].(x86asm.Reg)
		_, size, ok := gpr(r)
		m, isMem := in.Args[1].(x86asm.Mem)
		if !isReg || !ok || size != 8 || !isMem || m.Base != x86asm.RIP || m.Index != 0 {
			v.find(in.off, "%v: not the address of a constant place", in)
			v.forget(s, in.Args[0])
			return
		}
		v.write(in, s, r, 8, v.constant(v.rip(in, m)))
		return
	}
	size := in.MemBytes
	if r, ok := in.Args[0].(x86asm.Reg); ok {
		_, size, ok = gpr(r)
		if !ok {
			v.find(in.off, "%v: a register that the stub has no use for", in)
			return
		}
	}
	if size != 4 && size != 8 {
		v.find(in.off, "%v: an operand of %d bytes", in, size)
		return
	}
	switch in.Op {
	case x86asm.MOV:
		v.write(in, s, in.Args[0], size, v.read(in, s, in.Args[1], size))
	case x86asm.CMP:
		a, b := v.read(in, s, in.Args[0], size), v.read(in, s, in.Args[1], size)
		s.flags = &fact{a: a, b: b, size: size}
	case x86asm.TEST:
		a, b := v.read(in, s, in.Args[0], size), v.read(in, s, in.Args[1], size)
		s.flags = nil
		if a == b {
			s.flags = &fact{a: a, b: v.constant(0), size: size}
		}
	default:
		v.compute(in, s, size)
	}
}

// compute runs an instruction that changes a register by its own value.
func (v *verifier) compute(in insn, s *state, size int) {
	r, ok := in.Args[0].(x86asm.Reg)
	if !ok {
		v.find(in.off, "%v: changes memory", in)
		return
	}
	old := v.read(in, s, r, size)
	imm, isImm := in.Args[1].(x86asm.Imm)
	value := (*term)(nil)
	switch {
	case in.Op == x86asm.XOR && in.Args[1] == in.Args[0]:
		value = v.constant(0)
	case in.Op == x86asm.AND && isImm:
		value = v.term(term{kind: masked, a: old, c: uint64(imm), size: size})
	case in.Op == x86asm.INC:
		value = v.term(term{kind: plus, a: old, c: 1, size: size})
	case in.Op == x86asm.SHL && isImm && size == 8 && (old.kind == low || old.kind == constant && old.c>>32 == 0):
		value = v.term(term{kind: scaled, a: v.lower(old), c: uint64(imm)})
	case in.Op == x86asm.SUB && !isImm && size == 8:
		if b := v.read(in, s, in.Args[1], size); b.kind == constant {
			value = v.term(term{kind: minus, a: old, c: b.c})
		}
	case in.Op == x86asm.ADD && !isImm && size == 8:
		b := v.read(in, s, in.Args[1], size)
		if b.kind == scaled && old.kind == constant {
			value = v.term(term{kind: pointer, a: b, c: old.c})
		}
	}
	if value == nil {
		value = v.fresh1(s)
	}
	v.write(in, s, r, size, value)
	s.flags = &fact{a: value, b: v.constant(0), size: size}
}

func (v *verifier) fresh1(s *state) *term {
	s.looks++
	return v.term(term{kind: unknown, n: s.looks})
}

func (v *verifier) forget(s *state, a x86asm.Arg) {
	if r, ok := a.(x86asm.Reg); ok {
		if n, _, ok := gpr(r); ok {
			s.regs[n] = v.fresh1(s)
		}
	}
}

// rip is the constant address of an operand.
func (v *verifier) rip(in insn, m x86asm.Mem) uint64 {
	return uint64(v.lay.Code) + uint64(in.end()) + uint64(int32(m.Disp))
}

// read is the value of an operand. Of a register all of it, whatever the size:
// facts carry the size.
func (v *verifier) read(in insn, s *state, a x86asm.Arg, size int) *term {
	switch a := a.(type) {
	case x86asm.Imm:
		c := uint64(a)
		if size == 4 {
			c = uint64(uint32(a))
		}
		return v.constant(c)
	case x86asm.Reg:
		if n, have, ok := gpr(a); ok && have == size {
			return s.regs[n]
		}
	case x86asm.Mem:
		return v.load(in, s, a, size)
	}
	v.find(in.off, "%v: an operand that the stub has no use for", in)
	return v.fresh1(s)
}

// write puts a value into a register or, with a store, into memory.
func (v *verifier) write(in insn, s *state, a x86asm.Arg, size int, value *term) {
	switch a := a.(type) {
	case x86asm.Reg:
		n, have, ok := gpr(a)
		if !ok || have != size {
			break
		}
		if size == 4 && value.kind != constant && !(value.kind == load && value.size == 4) {
			value = v.lower(value)
		}
		if n == regRSP && (in.Op != x86asm.LEA || !v.inStack(value.c, 0)) {
			v.find(in.off, "%v: the stack pointer gets something else than a constant place on the signal stack", in)
		}
		s.regs[n] = value
		return
	case x86asm.Mem:
		v.store(in, s, a, size, value)
		return
	}
	v.find(in.off, "%v: an operand that the stub has no use for", in)
}

func within(addr uint64, size int, start arch.Addr, pages int) bool {
	return addr >= uint64(start) && addr+uint64(size) <= uint64(start)+uint64(pages)*arch.PageSize
}

func (v *verifier) inControl(addr uint64, size int) bool {
	return within(addr, size, v.lay.Control, 1)
}
func (v *verifier) inData(addr uint64, size int) bool { return within(addr, size, v.lay.Data, 1) }
func (v *verifier) inStack(addr uint64, size int) bool {
	return within(addr, size, v.lay.Stack, v.lay.StackPages)
}

// target is where an instruction jumps.
func target(in insn) (int, bool) {
	rel, ok := in.Args[0].(x86asm.Rel)
	return in.end() + int(rel), ok
}
