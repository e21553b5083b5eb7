package bench

import (
	"goskas/arch/amd64/asm"
	"goskas/program"

	"golang.org/x/sys/unix"
)

// source is a benchmark program under construction. Registers that rounds have
// to keep: r12 is where the next sample goes, r13 counts the rounds that are
// left, r14 is the counter at the start of the sample, rbp the stack pointer at
// the start of the program. rbx and r15 are the row's.
type source struct{ *program.Program }

// Lines of the output: a sample as 16 hexadecimal digits. Text survives any
// terminal in between.
const (
	digits   = 16
	lineSize = digits + 1
)

// Image is the row's program, a static ELF executable: argument, buffer, the
// rounds, the output. Its argument is the number of rounds. Without one it exits
// at once, which makes it its own exec target.
func (r *Row) Image() ([]byte, error) {
	s := source{program.New()}
	s.Mov(8, asm.RBP, asm.RSP)
	s.If(asm.Ptr(asm.RBP, 0), asm.B, asm.Imm(2), func() { s.Exit(0) })
	s.argument()
	rounds := s.Word("rounds")
	s.Mov(8, rounds, asm.R13)
	s.buffer(r.samples())
	if r.setup != nil {
		r.setup(s)
	}
	s.Loop(asm.R13, rounds, func() { r.round(s) })
	if r.finish != nil {
		r.finish(s)
	}
	s.output()
	s.Exit(0)
	return s.Build()
}

// argument reads argv[1], a decimal number, into r13.
func (s source) argument() {
	s.Mov(8, asm.RSI, asm.Ptr(asm.RBP, 16))
	s.Mov(8, asm.R13, asm.Imm(0))
	s.Mov(8, asm.RCX, asm.Imm(10))
	s.While(func(end string) {
		s.Movzx(1, asm.RAX, asm.Ptr(asm.RSI, 0))
		s.Test(8, asm.RAX, asm.RAX)
		s.Jcc(asm.E, end)
		s.Alu(asm.Sub, 8, asm.RAX, asm.Imm('0'))
		s.Imul(8, asm.R13, asm.RCX)
		s.Alu(asm.Add, 8, asm.R13, asm.RAX)
		s.Inc(8, asm.RSI)
	})
}

// buffer makes room for the samples and their text. It is populated, so that
// storing a sample faults never, and shared, so that a fork does not have it
// copied.
func (s source) buffer(samples int) {
	s.Mov(8, asm.RAX, asm.Imm(samples))
	s.Imul(8, asm.R13, asm.RAX)
	s.Mov(8, s.Word("samples"), asm.R13)
	s.Mov(8, asm.RSI, asm.Imm(8+lineSize))
	s.Imul(8, asm.RSI, asm.R13)
	s.Sys(unix.SYS_MMAP, 0, asm.RSI, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_POPULATE, -1, 0)
	s.Check("mmap of the samples")
	s.Mov(8, s.Word("buffer"), asm.RAX)
	s.Mov(8, asm.R12, asm.RAX)
}

// stamp reads the time stamp counter into rax, after everything before and
// before everything after it. rcx is kept, rdx lost.
func (s source) stamp() {
	s.Bytes([]byte{0x0f, 0xae, 0xe8}) // lfence
	s.Bytes([]byte{0x0f, 0x31})       // rdtsc
	s.Bytes([]byte{0x0f, 0xae, 0xe8})
	s.Shl(8, asm.RDX, 32)
	s.Alu(asm.Or, 8, asm.RAX, asm.RDX)
}

// timed emits body between two stamps and stores the difference. rax is kept
// as body leaves it.
func (s source) timed(body func()) {
	s.stamp()
	s.Mov(8, asm.R14, asm.RAX)
	body()
	s.Mov(8, asm.RBX, asm.RAX)
	s.stamp()
	s.Alu(asm.Sub, 8, asm.RAX, asm.R14)
	s.store(asm.RAX)
	s.Mov(8, asm.RAX, asm.RBX)
}

// store appends a sample.
func (s source) store(r asm.Reg) {
	s.Mov(8, asm.Ptr(asm.R12, 0), r)
	s.Alu(asm.Add, 8, asm.R12, asm.Imm(8))
}

// output writes the samples.
func (s source) output() {
	s.Data("digits", []byte("0123456789abcdef"))
	s.Mov(8, asm.RDI, asm.R12) // the text follows the samples
	s.Mov(8, asm.R15, asm.RDI)
	s.Mov(8, asm.R12, asm.At("buffer"))
	s.Lea(asm.RSI, asm.At("digits"))
	s.Loop(asm.R13, asm.At("samples"), func() {
		s.Mov(8, asm.RAX, asm.Ptr(asm.R12, 0))
		s.Alu(asm.Add, 8, asm.R12, asm.Imm(8))
		s.Loop(asm.RCX, digits, func() {
			s.Mov(8, asm.RDX, asm.RAX)
			s.Shr(8, asm.RDX, 60)
			s.Movzx(1, asm.RDX, asm.Idx(asm.RSI, asm.RDX, 1, 0))
			s.Mov(1, asm.Ptr(asm.RDI, 0), asm.RDX)
			s.Inc(8, asm.RDI)
			s.Shl(8, asm.RAX, 4)
		})
		s.Mov(1, asm.Ptr(asm.RDI, 0), asm.Imm('\n'))
		s.Inc(8, asm.RDI)
	})
	s.Mov(8, asm.R14, asm.RDI)
	s.While(func(end string) {
		s.Mov(8, asm.RDX, asm.R14)
		s.Alu(asm.Sub, 8, asm.RDX, asm.R15)
		s.Jcc(asm.E, end)
		s.Sys(unix.SYS_WRITE, 1, asm.R15, asm.RDX)
		s.Check("write of the samples")
		s.Alu(asm.Add, 8, asm.R15, asm.RAX)
	})
}
