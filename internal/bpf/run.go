package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Run is the kernel's answer to one system call. It takes any instructions; for
// those that Check does not accept the result is an error at the latest when
// the offending instruction is reached.
func Run(insns []unix.SockFilter, d *Data) (Action, error) {
	var m machine
	for pc := uint64(0); pc < uint64(len(insns)); pc++ {
		in := insns[pc]
		if in.Code&classMask == unix.BPF_JMP && known(in.Code) {
			pc += m.jump(in)
			continue
		}
		ret, done, ok := m.step(in, d)
		if !ok {
			return 0, fmt.Errorf("%w: cannot run instruction %d (%s)", ErrProgram, pc, text(in))
		}
		if done {
			return ret, nil
		}
	}
	return 0, fmt.Errorf("%w: ran past the end", ErrProgram)
}

// machine is the register state; the kernel starts it at zero.
type machine struct {
	a, x    uint32
	scratch [scratchWords]uint32
}

// operand is the constant, or X.
func (m *machine) operand(in unix.SockFilter) uint32 {
	if in.Code&unix.BPF_X != 0 {
		return m.x
	}
	return in.K
}

// jump is the number of instructions to skip.
func (m *machine) jump(in unix.SockFilter) uint64 {
	v, holds := m.operand(in), false
	switch in.Code & opMask {
	case unix.BPF_JA:
		return uint64(in.K)
	case unix.BPF_JEQ:
		holds = m.a == v
	case unix.BPF_JGT:
		holds = m.a > v
	case unix.BPF_JGE:
		holds = m.a >= v
	case unix.BPF_JSET:
		holds = m.a&v != 0
	}
	if holds {
		return uint64(in.Jt)
	}
	return uint64(in.Jf)
}

// step runs an instruction that is no jump.
func (m *machine) step(in unix.SockFilter, d *Data) (ret Action, done, ok bool) {
	switch in.Code {
	case unix.BPF_RET | unix.BPF_K:
		return Action(in.K), true, true
	case unix.BPF_RET | unix.BPF_A:
		return Action(m.a), true, true
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
		if in.K >= dataSize || in.K&3 != 0 {
			return 0, false, false
		}
		m.a = d.word(Word(in.K))
	case unix.BPF_LD | unix.BPF_W | unix.BPF_LEN:
		m.a = dataSize
	case unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN:
		m.x = dataSize
	case unix.BPF_LD | unix.BPF_IMM:
		m.a = in.K
	case unix.BPF_LDX | unix.BPF_IMM:
		m.x = in.K
	case unix.BPF_MISC | unix.BPF_TAX:
		m.x = m.a
	case unix.BPF_MISC | unix.BPF_TXA:
		m.a = m.x
	case unix.BPF_ST, unix.BPF_STX, unix.BPF_LD | unix.BPF_MEM, unix.BPF_LDX | unix.BPF_MEM:
		if in.K >= scratchWords {
			return 0, false, false
		}
		m.memory(in.Code, &m.scratch[in.K])
	case unix.BPF_ALU | unix.BPF_NEG:
		m.a = -m.a
	case unix.BPF_ALU | unix.BPF_DIV | unix.BPF_X, unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K:
		v := m.operand(in)
		if v == 0 {
			// By X: the kernel ends the program with 0. By a constant:
			// Check would not have let it in.
			return KillThread, true, in.Code&unix.BPF_X != 0
		}
		m.a /= v
	default:
		if in.Code&classMask != unix.BPF_ALU || !known(in.Code) {
			return 0, false, false
		}
		m.arithmetic(in)
	}
	return 0, false, true
}

func (m *machine) memory(code uint16, word *uint32) {
	switch code & classMask {
	case unix.BPF_ST:
		*word = m.a
	case unix.BPF_STX:
		*word = m.x
	case unix.BPF_LD:
		m.a = *word
	case unix.BPF_LDX:
		m.x = *word
	}
}

func (m *machine) arithmetic(in unix.SockFilter) {
	v := m.operand(in)
	switch in.Code & opMask {
	case unix.BPF_ADD:
		m.a += v
	case unix.BPF_SUB:
		m.a -= v
	case unix.BPF_MUL:
		m.a *= v
	case unix.BPF_AND:
		m.a &= v
	case unix.BPF_OR:
		m.a |= v
	case unix.BPF_XOR:
		m.a ^= v
	case unix.BPF_LSH:
		m.a <<= v & 31 // as CPUs and the kernel's interpreter do
	case unix.BPF_RSH:
		m.a >>= v & 31
	}
}
