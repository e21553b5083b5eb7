package bpf

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrProgram says that the kernel would not take a program.
var ErrProgram = errors.New("not a seccomp program")

// scratchWords is BPF_MEMWORDS (linux/filter.h).
const scratchWords = 16

// The instruction class and the rest of a code (linux/bpf_common.h).
const (
	classMask = 0x07
	opMask    = 0xf0
)

// Check accepts exactly the programs that the kernel lets seccomp load
// (bpf_check_classic in net/core/filter.c, seccomp_check_filter in
// kernel/seccomp.c).
func Check(insns []unix.SockFilter) error {
	if n := len(insns); n == 0 || n > unix.BPF_MAXINSNS {
		return fmt.Errorf("%w: %d instructions, not between 1 and %d", ErrProgram, n, unix.BPF_MAXINSNS)
	}
	// stored[i] has the scratch words that are written on every way to
	// instruction i. Jumps only go forward, so one pass settles it.
	stored := make([]uint16, len(insns))
	for i := range stored {
		stored[i] = ^uint16(0)
	}
	stored[0] = 0
	for i, in := range insns {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%w: instruction %d (%s): %s", ErrProgram, i, text(in), fmt.Sprintf(format, args...))
		}
		if !known(in.Code) {
			return bad("code %#x is not allowed", in.Code)
		}
		have := stored[i]
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if in.K >= dataSize || in.K&3 != 0 {
				return bad("no aligned word of the data")
			}
		case unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K:
			if in.K == 0 {
				return bad("division by zero")
			}
		case unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K:
			if in.K >= 32 {
				return bad("shift by more than 31")
			}
		case unix.BPF_ST, unix.BPF_STX, unix.BPF_LD | unix.BPF_MEM, unix.BPF_LDX | unix.BPF_MEM:
			if in.K >= scratchWords {
				return bad("no such scratch word")
			}
			bit := uint16(1) << in.K
			if in.Code&classMask == unix.BPF_ST || in.Code&classMask == unix.BPF_STX {
				have |= bit
			} else if have&bit == 0 {
				return bad("scratch word may be read before it is written")
			}
		}
		for _, to := range successors(i, in) {
			switch {
			case to < uint64(len(insns)):
				stored[to] &= have
			case in.Code&classMask == unix.BPF_JMP:
				return bad("jump past the end")
			case in.Code&classMask != unix.BPF_RET:
				return bad("the last instruction is not a return")
			}
		}
	}
	return nil
}

// successors are the instructions that may run after one. The kernel's check of
// the scratch words counts what stands behind a return as well.
func successors(i int, in unix.SockFilter) []uint64 {
	next := uint64(i) + 1
	switch {
	case in.Code&classMask != unix.BPF_JMP:
		return []uint64{next}
	case in.Code&opMask == unix.BPF_JA:
		return []uint64{next + uint64(in.K)}
	}
	return []uint64{next + uint64(in.Jt), next + uint64(in.Jf)}
}

// known tells the codes of seccomp programs from all others. Modulo, bytes,
// half words and packet addressing are not among them.
func known(code uint16) bool {
	switch code {
	case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
		unix.BPF_LD | unix.BPF_W | unix.BPF_LEN, unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN,
		unix.BPF_LD | unix.BPF_IMM, unix.BPF_LDX | unix.BPF_IMM,
		unix.BPF_LD | unix.BPF_MEM, unix.BPF_LDX | unix.BPF_MEM,
		unix.BPF_ST, unix.BPF_STX,
		unix.BPF_MISC | unix.BPF_TAX, unix.BPF_MISC | unix.BPF_TXA,
		unix.BPF_RET | unix.BPF_K, unix.BPF_RET | unix.BPF_A,
		unix.BPF_ALU | unix.BPF_NEG,
		unix.BPF_JMP | unix.BPF_JA:
		return true
	}
	switch code &^ unix.BPF_X { // a constant or X
	case unix.BPF_ALU | unix.BPF_ADD, unix.BPF_ALU | unix.BPF_SUB, unix.BPF_ALU | unix.BPF_MUL,
		unix.BPF_ALU | unix.BPF_DIV, unix.BPF_ALU | unix.BPF_AND, unix.BPF_ALU | unix.BPF_OR,
		unix.BPF_ALU | unix.BPF_XOR, unix.BPF_ALU | unix.BPF_LSH, unix.BPF_ALU | unix.BPF_RSH,
		unix.BPF_JMP | unix.BPF_JEQ, unix.BPF_JMP | unix.BPF_JGT,
		unix.BPF_JMP | unix.BPF_JGE, unix.BPF_JMP | unix.BPF_JSET:
		return true
	}
	return false
}
