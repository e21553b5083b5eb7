package skas

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// intruder emits guest code that uses the system call instructions of UML's
// stub out of turn, as the seeds describe. It needs a page at workAt.
type intruder struct {
	*asm.Assembler
	r *rig
	n int
}

const (
	workAt   = 0x40000
	returnAt = workAt + 0xff0 // where the address to come back to lies, behind stubabi.Data's fields
)

// site is the address of the first system call behind a label of the stub.
func (r *rig) site(label string) int64 {
	r.t.Helper()
	p, ok := r.mon.protocol.(*posted)
	if !ok {
		r.t.Fatal("this stub does not speak UML's protocol")
	}
	off := 0
	for _, l := range p.stub.Labels {
		if l.Name == label {
			off = int(l.Offset)
		}
	}
	for off < len(p.stub.Code) {
		inst, err := x86asm.Decode(p.stub.Code[off:], 64)
		if err != nil {
			r.t.Fatal(err)
		}
		if inst.Op == x86asm.SYSCALL {
			return int64(p.lay.Code) + int64(off)
		}
		off += inst.Len
	}
	r.t.Fatalf("no system call behind label %q", label)
	return 0
}

// enter jumps at a system call of the stub. rbx, where the stub has its data
// page, is the page at workAt: if that is read-only, a mapping call ends in a
// page fault there with the call's result in rax, since the stub notes it.
func (i *intruder) enter(label string, nr int64, args ...int64) {
	i.Mov(8, asm.RBX, asm.Imm(workAt))
	i.Lea(asm.R12, asm.Ptr(asm.RBX, stubabi.OffEntries))
	for _, r := range []asm.Reg{asm.R13, asm.R14, asm.R15} {
		i.Alu(asm.Xor, 4, r, r)
	}
	for n, arg := range args {
		i.Mov(8, []asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}[n], asm.Imm(arg))
	}
	i.Mov(8, asm.RAX, asm.Imm(nr))
	i.Mov(8, asm.RCX, asm.Imm(i.r.site(label)))
	i.JmpTo(asm.RCX)
}

// rax is its place in arch.Regs.GPR.
const rax = 13

// back notes where the stub's code is to return to, below drop bytes that it
// takes off the stack.
func (i *intruder) back(drop int64) string {
	i.n++
	label := "back-" + string(rune('a'+i.n))
	i.MovLabel(asm.RAX, label)
	i.Mov(8, asm.RBX, asm.Imm(workAt))
	i.Mov(8, asm.Ptr(asm.RBX, returnAt-workAt), asm.RAX)
	i.Mov(8, asm.RSP, asm.Imm(returnAt-drop))
	return label
}

// mmap makes a mapping call and goes on if its result is the one expected; if it
// is another, the stub's code waits for ever. The page at workAt is writable.
func (i *intruder) mmap(result int64, args ...int64) {
	label := i.back(128) // the stub's room for a message
	i.Mov(8, asm.RAX, asm.Imm(result))
	i.Mov(8, asm.Ptr(asm.RBX, stubabi.OffEntries), asm.RAX)
	i.enter("mmap", unix.SYS_MMAP, args...)
	i.Label(label)
}

// pretend reports a tick that never was, while the guest runs on.
func (i *intruder) pretend() {
	data := int64(i.r.mon.Layout().Data)
	i.Mov(8, asm.RBX, asm.Imm(data))
	i.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSignal), asm.Imm(int64(unix.SIGALRM)))
	i.Mov(4, asm.Ptr(asm.RBX, stubabi.OffFutex), asm.Imm(stubabi.InKern))
	label := i.back(0)
	i.enter("wake", unix.SYS_FUTEX, data+stubabi.OffFutex, 1 /* FUTEX_WAKE */, 1)
	i.Label(label)
}

// awaitWake spins until the monitor hands the CPU over.
func (i *intruder) awaitWake() {
	i.Mov(8, asm.RBX, asm.Imm(int64(i.r.mon.Layout().Data)))
	i.Label("spin")
	i.Pause()
	i.Alu(asm.Cmp, 4, asm.Ptr(asm.RBX, stubabi.OffFutex), asm.Imm(stubabi.InChild))
	i.Jcc(asm.NE, "spin")
}

// intruder makes an mm with such a program, and a page at workAt.
func (r *rig) intruder(work arch.Access, emit func(i *intruder)) (*MM, *arch.Regs) {
	r.t.Helper()
	x, regs := r.program(func(a *asm.Assembler) { emit(&intruder{Assembler: a, r: r}) })
	r.page(x, workAt, work)
	return x, regs
}
