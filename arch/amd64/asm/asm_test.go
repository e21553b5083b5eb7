package asm

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/arch/x86/x86asm"
)

// Each row is checked against an independent decoder and against fixed bytes.
func TestEncodings(t *testing.T) {
	for _, c := range []struct {
		emit      func(*Assembler)
		hex, text string
	}{
		{func(a *Assembler) { a.Mov(8, RAX, Imm(202)) }, "b8ca000000", "mov eax, 0xca"},
		{func(a *Assembler) { a.Mov(8, R10, Imm(0)) }, "41ba00000000", "mov r10d, 0x0"},
		{func(a *Assembler) { a.Mov(8, R8, Imm(-1)) }, "49c7c0ffffffff", "mov r8, -0x1"},
		{func(a *Assembler) { a.Mov(8, RBX, Imm(0x7fffffffd000)) }, "48bb00d0ffffff7f0000", "mov rbx, 0x7fffffffd000"},
		{func(a *Assembler) { a.Mov(8, RSI, RSP) }, "4889e6", "mov rsi, rsp"},
		{func(a *Assembler) { a.Mov(4, RDX, Ptr(RBX, 0xf8c)) }, "8b938c0f0000", "mov edx, dword ptr [rbx+0xf8c]"},
		{func(a *Assembler) { a.Mov(8, Ptr(RSP, 8), R15) }, "4c897c2408", "mov qword ptr [rsp+0x8], r15"},
		{func(a *Assembler) { a.Mov(8, R9, Ptr(R13, 0)) }, "4d8b4d00", "mov r9, qword ptr [r13]"},
		{func(a *Assembler) { a.Mov(4, Ptr(RBX, 4), Imm(1)) }, "c7430401000000", "mov dword ptr [rbx+0x4], 0x1"},
		{func(a *Assembler) { a.Mov(2, Ptr(RBX, 4), RCX) }, "66894b04", "mov word ptr [rbx+0x4], cx"},
		{func(a *Assembler) { a.Mov(1, Ptr(RDI, 0), RSI) }, "408837", "mov byte ptr [rdi], sil"},
		{func(a *Assembler) { a.Mov(4, RDI, Idx(RSP, RAX, 4, 16)) }, "8b7c8410", "mov edi, dword ptr [rsp+4*rax+0x10]"},
		{func(a *Assembler) { a.Movzx(2, RCX, Ptr(RBX, 2)) }, "480fb74b02", "movzx rcx, word ptr [rbx+0x2]"},
		{func(a *Assembler) { a.Movsxd(R8, Ptr(R12, 24)) }, "4d63442418", "movsxd r8, dword ptr [r12+0x18]"},
		{func(a *Assembler) { a.Alu(Cmp, 4, RAX, Imm(-11)) }, "83f8f5", "cmp eax, -0xb"},
		{func(a *Assembler) { a.Alu(Add, 8, R12, Imm(40)) }, "4983c428", "add r12, 0x28"},
		{func(a *Assembler) { a.Alu(Sub, 8, RSP, Imm(0x200)) }, "4881ec00020000", "sub rsp, 0x200"},
		{func(a *Assembler) { a.Alu(Xor, 4, RDI, RDI) }, "31ff", "xor edi, edi"},
		{func(a *Assembler) { a.Alu(Cmp, 8, RAX, Ptr(RBX, 0)) }, "483b03", "cmp rax, qword ptr [rbx]"},
		{func(a *Assembler) { a.Test(4, RAX, RAX) }, "85c0", "test eax, eax"},
		{func(a *Assembler) { a.Imul(8, RCX, RDX) }, "480fafca", "imul rcx, rdx"},
		{func(a *Assembler) { a.Div(8, RCX) }, "48f7f1", "div rcx"},
		{func(a *Assembler) { a.Shl(8, RAX, 12) }, "48c1e00c", "shl rax, 0xc"},
		{func(a *Assembler) { a.Dec(4, R14) }, "41ffce", "dec r14d"},
		{func(a *Assembler) { a.Xchg(4, Ptr(RDI, 0), RAX) }, "8707", "xchg dword ptr [rdi], eax"},
		{func(a *Assembler) { a.Push(R12) }, "4154", "push r12"},
		{func(a *Assembler) { a.Pop(RBP) }, "5d", "pop rbp"},
		{func(a *Assembler) { a.Syscall() }, "0f05", "syscall"},
		{func(a *Assembler) { a.CallTo(RAX) }, "ffd0", "call rax"},
		{func(a *Assembler) { a.RepStosb() }, "f3aa", "rep stosb byte ptr [rdi]"},
		{func(a *Assembler) { a.Pause() }, "f390", "pause"},
	} {
		a := New(0)
		c.emit(a)
		got, err := a.Assemble()
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if h := hex.EncodeToString(got); h != c.hex {
			t.Errorf("%s: bytes %s, want %s", c.text, h, c.hex)
		}
		inst, err := x86asm.Decode(got, 64)
		if err != nil || inst.Len != len(got) {
			t.Fatalf("%s: decode %x: %v, %d bytes", c.text, got, err, inst.Len)
		}
		if s := strings.TrimPrefix(strings.ToLower(x86asm.IntelSyntax(inst, 0, nil)), "data16 "); s != c.text {
			t.Errorf("decodes as %q, want %q", s, c.text)
		}
	}
}

func TestLabels(t *testing.T) {
	a := New(0x1000)
	a.Label("start")
	a.Jmp("end")
	a.Lea(RSI, At("end"))
	a.Alu(Cmp, 4, At("end"), Imm(1))
	a.MovLabel(RAX, "start")
	a.Label("end").QuadLabel("end")
	got, err := a.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	want := "e918000000" + "488d3511000000" + "833d0a00000001" + "48b80010000000000000" + "1d10000000000000"
	if diff := cmp.Diff(want, hex.EncodeToString(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesAreReported(t *testing.T) {
	a := New(0)
	a.Jmp("nowhere")
	a.Label("x").Label("x")
	a.Mov(8, Ptr(RAX, 0), Ptr(RBX, 0))
	a.Alu(Add, 8, RAX, Imm(1<<40))
	_, err := a.Assemble()
	for _, want := range []string{"nowhere", "twice", "memory to memory", "does not fit"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}
