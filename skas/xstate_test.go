package skas

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"

	"golang.org/x/sys/unix"
)

// xProgram loads extended state from the page in rbx, makes a system call, and
// stores it to the page's second half, for ever. The page starts with MXCSR, an
// x87 number at 16 and the vector at 64.
func xProgram(a *asm.Assembler) { xProgramWith(a, func() {}) }

// xProgramWith is one that does something more behind each call.
func xProgramWith(a *asm.Assembler, more func()) {
	raw := func(b ...byte) { a.Bytes(b) }
	raw(0x0f, 0xae, 0x13)       // ldmxcsr [rbx]
	raw(0xdd, 0x43, 0x10)       // fld qword [rbx+16]
	raw(0x0f, 0x10, 0x7b, 0x40) // movups xmm7, [rbx+64]
	if amd64.HasAVX512() {
		raw(0x62, 0x61, 0xfe, 0x48, 0x6f, 0x7b, 1) // vmovdqu64 zmm31, [rbx+64]
	}
	a.Label("loop")
	a.Syscall()
	more()
	a.Lea(asm.RCX, asm.Ptr(asm.RBX, 2048))
	raw(0x0f, 0xae, 0x19)       // stmxcsr [rcx]
	raw(0xdd, 0x51, 0x10)       // fst qword [rcx+16]
	raw(0x0f, 0x11, 0x79, 0x40) // movups [rcx+64], xmm7
	if amd64.HasAVX512() {
		raw(0x62, 0x61, 0xfe, 0x48, 0x7f, 0x79, 1) // vmovdqu64 [rcx+64], zmm31
	}
	a.Jmp("loop")
}

type xTask struct {
	regs *arch.Regs
	page []byte
}

// check compares what the task stored with what it loaded.
func (x *xTask) check(t *testing.T) {
	t.Helper()
	n := 128
	if !amd64.HasAVX512() {
		n = 80
	}
	if !bytes.Equal(x.page[:n], x.page[2048:2048+n]) {
		t.Fatalf("extended state changed:\n%x\n%x", x.page[:n], x.page[2048:2048+n])
	}
}

func (r *rig) xTask(x *MM, base *arch.Regs, at arch.Addr, seed byte) *xTask {
	page := r.page(x, at, arch.Read|arch.Write)
	binary.LittleEndian.PutUint32(page, 0x1f80|uint32(seed&3)<<13) // rounding mode
	binary.LittleEndian.PutUint64(page[16:], 0x4010000000000000+uint64(seed)<<40)
	for i := 64; i < 128; i++ {
		page[i] = seed + byte(i)
	}
	regs := *base
	regs.GPR[11] = uint64(at) // rbx
	return &xTask{&regs, page}
}

// Tasks that share a stub keep their own extended state.
func TestKernelExtendedStateFollowsTheTask(t *testing.T) {
	r := newRig(t, 0)
	x, base := r.program(xProgram)
	tasks := []*xTask{r.xTask(x, base, 0x30000, 1), r.xTask(x, base, 0x31000, 2), r.xTask(x, base, 0x32000, 3)}
	for i := range 30 {
		task := tasks[(i*7/3)%len(tasks)]
		if ev := r.run(x, task.regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
		if i >= 9 { // by now each has been round once
			task.check(t)
		}
		if i == 20 {
			x.SaveX(task.regs)
		}
	}
}

// A copy of a task made with SaveX goes on with its extended state in another
// mm, as after a fork.
func TestKernelExtendedStateIsInherited(t *testing.T) {
	r := newRig(t, 0)
	x, base := r.program(xProgram)
	parent := r.xTask(x, base, 0x30000, 2)
	r.run(x, parent.regs)
	x.SaveX(parent.regs)

	y, _ := r.program(xProgram)
	child := r.xTask(y, base, 0x30000, 2)
	*child.regs = *parent.regs
	child.regs.X = slices.Clone(parent.regs.X)
	for range 3 {
		r.run(y, child.regs)
		child.check(t)
		r.run(x, parent.regs)
		parent.check(t)
	}
}

// A fresh task starts with the state that Linux gives a program, whatever ran
// on the stub before.
func TestKernelFreshExtendedState(t *testing.T) {
	r := newRig(t, 0)
	x, base := r.program(func(a *asm.Assembler) {
		a.Bytes([]byte{0x0f, 0xae, 0x1b})                   // stmxcsr [rbx]
		a.Bytes([]byte{0xd9, 0x7b, 0x08})                   // fnstcw [rbx+8]
		a.Bytes([]byte{0x0f, 0x11, 0x43, 0x10})             // movups [rbx+16], xmm0
		a.Bytes([]byte{0x66, 0x0f, 0x76, 0xc0})             // pcmpeqd xmm0, xmm0
		a.Bytes([]byte{0x0f, 0xae, 0x53, 0x20, 0xdb, 0xe3}) // ldmxcsr [rbx+32]; fninit
		a.Syscall()
	})
	page := r.page(x, 0x30000, arch.Read|arch.Write)
	binary.LittleEndian.PutUint32(page[32:], 0x7f80)
	for i := range 3 {
		regs := *base
		regs.GPR[11] = 0x30000
		clear(page[:32])
		page[16] = 1
		if ev := r.run(x, &regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
		mxcsr, cw := binary.LittleEndian.Uint32(page), binary.LittleEndian.Uint16(page[8:])
		if mxcsr != 0x1f80 || cw != 0x37f || !bytes.Equal(page[16:32], make([]byte, 16)) {
			t.Errorf("round %d: MXCSR %#x, control word %#x, xmm0 %x", i, mxcsr, cw, page[16:32])
		}
	}
}

// Preempted at any place, a task goes on with all of its registers.
func TestKernelRegistersSurvivePreemption(t *testing.T) {
	r := newRig(t, 1000)
	x, base := r.program(func(a *asm.Assembler) {
		regs := []asm.Reg{asm.RAX, asm.RCX, asm.RDX, asm.RBP, asm.RSI, asm.RDI, asm.R8, asm.R9, asm.R10, asm.R11, asm.R13, asm.R14, asm.R15}
		for i, reg := range regs {
			a.Mov(8, reg, asm.Imm(int64(i+1)*0x0101010101010101))
		}
		a.Mov(8, asm.R12, asm.Imm(3_000_000))
		a.Label("loop")
		a.Bytes([]byte{0x66, 0x48, 0x0f, 0x6e, 0xc0}) // movq xmm0, rax
		for i, reg := range regs {
			a.Mov(8, asm.RBX, asm.Imm(int64(i+1)*0x0101010101010101))
			a.Alu(asm.Cmp, 8, reg, asm.RBX)
			a.Jcc(asm.NE, "bad")
		}
		a.Bytes([]byte{0x66, 0x48, 0x0f, 0x7e, 0xc3}) // movq rbx, xmm0
		a.Alu(asm.Cmp, 8, asm.RAX, asm.RBX)
		a.Jcc(asm.NE, "bad")
		a.Dec(8, asm.R12)
		a.Jcc(asm.NE, "loop")
		a.Int3()
		a.Label("bad")
		a.Ud2()
	})
	ticks := 0
	for {
		ev := r.run(x, base)
		if ev.Kind == Tick {
			ticks++
			continue
		}
		if ev.Kind != Trap || ev.Signo != int(unix.SIGTRAP) {
			t.Fatalf("after %d ticks: %+v", ticks, ev)
		}
		break
	}
	if ticks < 3 {
		t.Errorf("only %d ticks", ticks)
	}
}
