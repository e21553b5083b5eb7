package amd64

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"goskas/arch"
	"goskas/stubexe"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// form is one of the forms that a sealed stub's code can have: hosts differ in
// the size of the extended state and in who may set segment bases.
type form struct {
	name   string
	arch   *Arch
	layout arch.StubLayout
	stub   *arch.Stub
	filter []unix.SockFilter
}

func (f *form) verify(code []byte) Proof {
	s := *f.stub
	s.Code = code
	return f.arch.Verify(&s, f.layout, f.filter)
}

func (f *form) prove(code []byte) []Finding { return f.verify(code).Findings }

func sealedForms(t testing.TB) []*form {
	t.Helper()
	var forms []*form
	for _, bases := range []bool{false, true} {
		// FXSAVE alone, SSE, AVX, AVX-512, and that with protection keys.
		for _, xsize := range []int{512, 576, 832, 2688, 2696} {
			f := &form{name: fmt.Sprintf("bases %v, extended state of %d", bases, xsize), arch: &Arch{xsize: xsize, features: 7, fsgsbase: bases}}
			pages := max(4, (3*(xsize+1024)+arch.PageSize-1)/arch.PageSize)
			code := f.arch.UserTop() - arch.Addr((3+pages)*arch.PageSize)
			f.layout = arch.StubLayout{Code: code, Control: code + arch.PageSize, Data: code + 2*arch.PageSize, DataPages: 1,
				Stack: code + 3*arch.PageSize, StackPages: pages}
			var err error
			if f.stub, err = f.arch.Sealed(f.layout); err != nil {
				t.Fatal(err)
			}
			if f.filter, err = stubexe.SealedFilter(f.layout, f.stub, f.arch.AuditArch()); err != nil {
				t.Fatal(err)
			}
			forms = append(forms, f)
		}
	}
	return forms
}

func TestSealedStubIsProved(t *testing.T) {
	for _, f := range sealedForms(t) {
		p := f.verify(f.stub.Code)
		for _, finding := range p.Findings {
			t.Errorf("%s: %v", f.name, finding)
		}
		if len(p.Checked) < 10 {
			t.Errorf("%s: only %d rules checked", f.name, len(p.Checked))
		}
	}
}

// instructions are the offsets and lengths of code's instructions.
func instructions(t testing.TB, code []byte) (list []insn) {
	t.Helper()
	for off := 0; off < len(code); {
		in, err := x86asm.Decode(code[off:], 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, insn{off, in})
		off += in.Len
	}
	return list
}

// equivalent reports that the instruction at the start of a does what that at
// the start of b does, given what follows: the proof rightly holds for it.
func equivalent(a, b []byte) bool {
	x, err := x86asm.Decode(a, 64)
	if err != nil {
		return false
	}
	y, err := x86asm.Decode(b, 64)
	if err != nil || x.Len != y.Len || x.Op != y.Op {
		return false
	}
	next, err := x86asm.Decode(b[y.Len:], 64)
	if err != nil {
		return false
	}
	// Bits of a prefix that mean nothing here.
	same := x.Args == y.Args
	// A comparison for equality.
	swapped := x.Op == x86asm.CMP && (next.Op == x86asm.JNE || next.Op == x86asm.JE) && x.Args[0] == y.Args[1] && x.Args[1] == y.Args[0]
	// The upper half of rax goes with the next instruction.
	wide := x.Op == x86asm.MOV && x.Args[0] == x86asm.RAX && y.Args[0] == x86asm.EAX &&
		next.Op == x86asm.AND && next.Args[0] == x86asm.EAX
	return same || swapped || wide
}

// exhaustive has the proof tried against every mutation instead of a sample.
var exhaustive = flag.Bool("exhaustive", false, "try every mutation of the sealed stub, which takes minutes")

// sampled picks mutations; the seed is fixed.
func sampled(one int) func() bool {
	r := rand.New(rand.NewPCG(4, 5))
	return func() bool { return *exhaustive || r.IntN(one) == 0 }
}

// Whatever bit of the code is turned over, it shows.
func TestProofFindsEveryFlippedBit(t *testing.T) {
	forms := sealedForms(t)
	pick := sampled(24)
	for _, f := range []*form{forms[3], forms[8]} {
		code := slices.Clone(f.stub.Code)
		for _, in := range instructions(t, f.stub.Code) {
			for i := in.off; i < in.end(); i++ {
				for bit := range 8 {
					if !pick() {
						continue
					}
					code[i] ^= 1 << bit
					if len(f.prove(code)) == 0 && !equivalent(code[in.off:], f.stub.Code[in.off:]) && !f.reload(in, code[in.off:]) {
						after, _ := x86asm.Decode(code[in.off:], 64)
						t.Errorf("%s: not found: %v at %#x turned into %v", f.name, in, in.off, after)
					}
					code[i] ^= 1 << bit
				}
			}
		}
	}
}

// reload reports the load of a saved instruction pointer to rax, which holds it
// already, turned into a load to another register, which gets its own value
// later.
func (f *form) reload(in insn, after []byte) bool {
	x, err := x86asm.Decode(after, 64)
	m, isMem := in.Args[1].(x86asm.Mem)
	if err != nil || in.Op != x86asm.MOV || x.Op != in.Op || in.Args[0] != x86asm.RAX || x.Args[1] != in.Args[1] || !isMem {
		return false
	}
	addr := uint64(f.layout.Code) + uint64(in.end()) + uint64(int32(m.Disp))
	fresh := uint64(f.stub.Sealed.MContext) - ucMCtx
	frames := sealedFrames{xsize: f.arch.xsize}
	for _, first := range frames.nested(fresh) {
		for _, at := range append(frames.nested(first), first) {
			if addr == at+ucMCtx+8*rip {
				return true
			}
		}
	}
	return false
}

// found fails unless the mutated code has a finding.
func (f *form) found(t *testing.T, code []byte, format string, args ...any) {
	t.Helper()
	if len(f.prove(code)) == 0 {
		t.Errorf("%s: not found: %s", f.name, fmt.Sprintf(format, args...))
	}
}

// fill makes a gap one of instructions that the stub may have and that do
// nothing: moves of a register to itself. For a single byte there is none.
func fill(code []byte) {
	for len(code) > 0 {
		n := 3
		switch {
		case len(code) == 1:
			code[0] = 0x90
			return
		case len(code) == 2 || len(code) == 4:
			n = 2
		}
		copy(code, [][]byte{2: {0x89, 0xed}, 3: {0x48, 0x89, 0xed}}[n]) // mov ebp, ebp; mov rbp, rbp
		code = code[n:]
	}
}

// An instruction that is missing shows, be it any.
func TestProofFindsEveryDroppedInstruction(t *testing.T) {
	forms := sealedForms(t)
	for _, f := range []*form{forms[3], forms[8]} {
		for _, in := range instructions(t, f.stub.Code) {
			code := slices.Clone(f.stub.Code)
			fill(code[in.off:in.end()])
			if len(f.prove(code)) == 0 && !f.reload(in, f.stub.Code[in.off:]) {
				t.Errorf("%s: not found: no %v at %#x", f.name, in, in.off)
			}
		}
	}
}

// Nor is there room for an instruction that does not belong, in the place of any.
func TestProofFindsForeignInstructions(t *testing.T) {
	f := sealedForms(t)[3]
	pick := sampled(8)
	for name, bytes := range map[string][]byte{
		"push": {0x50}, "pop": {0x58}, "ret": {0xc3}, "call": {0xe8, 0, 0, 0, 0}, "call rax": {0xff, 0xd0}, "jmp rax": {0xff, 0xe0},
		"popf": {0x9d}, "leave": {0xc9}, "stosq": {0x48, 0xab}, "int 0x80": {0xcd, 0x80}, "sysenter": {0x0f, 0x34},
		"syscall": {0x0f, 0x05}, "iretq": {0x48, 0xcf}, "write through rdi": {0x48, 0x89, 0x07}, "read through fs": {0x64, 0x48, 0x8b, 0x07},
		"unknown": {0x0f, 0x0a}, "vmovdqu": {0xc5, 0xfe, 0x6f, 0x07}, "wrpkru": {0x0f, 0x01, 0xef}, "lock inc": {0xf0, 0x48, 0xff, 0x07},
		"mov rsp, rax": {0x48, 0x89, 0xc4}, "xchg rsp, rax": {0x48, 0x94}, "cut": {0xe8},
	} {
		for _, in := range instructions(t, f.stub.Code) {
			if in.Len < len(bytes) || in.Op == x86asm.SYSCALL && name == "syscall" || in.Op == x86asm.IRETQ && name == "iretq" || !pick() {
				continue
			}
			code := slices.Clone(f.stub.Code)
			copy(code[in.off:], bytes)
			fill(code[in.off+len(bytes) : in.end()])
			f.found(t, code, "%s in the place of %v at %#x", name, in, in.off)
		}
	}
}

// A jump that goes somewhere else shows, wherever that is.
func TestProofFindsRedirectedJumps(t *testing.T) {
	f := sealedForms(t)[3]
	pick := sampled(40)
	list := instructions(t, f.stub.Code)
	for _, in := range list {
		old, isJump := target(in)
		if !isJump {
			continue
		}
		for _, to := range list {
			if to.off == old || !pick() {
				continue
			}
			code := slices.Clone(f.stub.Code)
			binary.LittleEndian.PutUint32(code[in.end()-4:], uint32(to.off-in.end()))
			if len(f.prove(code)) == 0 && !f.leadsTo(t, in, to.off, old) {
				t.Errorf("%s: not found: %v at %#x goes to %#x instead of %#x", f.name, in, in.off, to.off, old)
			}
		}
	}
}

// leadsTo reports that a jump does the same with another target: what stands
// there only asks again what has been asked on the way to the jump, with the same
// answer, and leads to the same place.
func (f *form) leadsTo(t *testing.T, jump insn, from, to int) bool {
	before, _ := x86asm.Decode(f.stub.Code[jump.off-3:], 64)
	for {
		in, err := x86asm.Decode(f.stub.Code[from:], 64)
		if err != nil {
			t.Fatal(err)
		}
		at, isJump := target(insn{from, in})
		comparesPC := in.Op == x86asm.CMP && in.Args[0] == x86asm.RAX && in.Args[1] == x86asm.RCX ||
			in.Op == x86asm.LEA && in.Args[0] == x86asm.RCX
		var again bool
		switch {
		case isJump && (in.Op == x86asm.JMP || in.Op == jump.Op):
			return at == to
		case jump.Op == x86asm.JNE && in.Op == x86asm.JE:
			again = true // is not taken
		case jump.Op == x86asm.JNE && jump.off == f.offset(t, "nested")+3:
			// The stack pointer is not at the frame that rax is still the
			// address of.
			again = in.Op == x86asm.CMP && in.Args[0] == x86asm.RSP && in.Args[1] == x86asm.RAX
		case jump.Op == x86asm.JNE && to == f.offset(t, "tick"):
			// The stack pointer is at the guest's frame already.
			again = in.Op == x86asm.LEA && in.Args[0] == x86asm.RSP
		case jump.Op == x86asm.JMP && to == f.offset(t, "die") && in.Op == x86asm.JNE:
			return at == to // is taken: so was none before
		case jump.Op == x86asm.JNE && before.Op == x86asm.AND: // the number is odd
			again = in.Op == x86asm.AND && in.Args == before.Args || in.Op == x86asm.MOV && in.Args[1] == x86asm.R11L
		case jump.Op == x86asm.JB:
			again = comparesPC
		case jump.Op == x86asm.JMP && to == f.offset(t, "tick"): // on the last stretch, from either frame
			again = comparesPC || in.Op == x86asm.JB || in.Op == x86asm.JAE || in.Op == x86asm.LEA && in.Args[0] == x86asm.RSP
		}
		if !again {
			return false
		}
		from += in.Len
	}
}

func (f *form) offset(t *testing.T, label string) int {
	off, ok := f.stub.Label(label)
	if !ok {
		t.Fatalf("no label %s", label)
	}
	return int(off)
}

// Places that are declared wrong show, as does a filter that is not the code's.
func TestProofFindsMovedPlaces(t *testing.T) {
	f := sealedForms(t)[3]
	other := sealedForms(t)[8]
	for i, l := range f.stub.Labels {
		switch {
		case len(l.Name) > 5 && (l.Name[:5] == "site-" || l.Name[:5] == "past-"):
		case slices.Contains([]string{"handler", "resume", "resumed", "die"}, l.Name):
		default:
			continue
		}
		for _, by := range []int{-7, -2, -1, 1, 2, 5, 7} {
			s := *f.stub
			s.Labels = slices.Clone(s.Labels)
			s.Labels[i].Offset += uint64(by)
			if len(f.arch.Verify(&s, f.layout, f.filter).Findings) == 0 {
				t.Errorf("not found: %s moved by %d", l.Name, by)
			}
		}
		s := *f.stub
		s.Labels = slices.Delete(slices.Clone(s.Labels), i, i+1)
		if len(f.arch.Verify(&s, f.layout, f.filter).Findings) == 0 {
			t.Errorf("not found: no %s", l.Name)
		}
	}
	allow := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	for name, filter := range map[string][]unix.SockFilter{"of the other form": other.filter, "none": nil, "that allows all": allow} {
		if len(f.arch.Verify(f.stub, f.layout, filter).Findings) == 0 {
			t.Errorf("not found: a filter %s", name)
		}
	}
	for name, change := range map[string]func(*arch.Stub){
		"extended state": func(s *arch.Stub) { s.Sealed.X += 64 },
		"return frame":   func(s *arch.Stub) { s.Sealed.Return += 8 },
		"frame":          func(s *arch.Stub) { s.Sealed.MContext += 16 },
		"bases":          func(s *arch.Stub) { s.Sealed.Bases = !s.Sealed.Bases },
		"handler":        func(s *arch.Stub) { s.Handler++ },
		"no code":        func(s *arch.Stub) { s.Code = nil },
		"long code":      func(s *arch.Stub) { s.Code = append(slices.Clone(s.Code), make([]byte, arch.PageSize)...) },
	} {
		s := *f.stub
		change(&s)
		if len(f.arch.Verify(&s, f.layout, f.filter).Findings) == 0 {
			t.Errorf("not found: other %s", name)
		}
	}
}

// What a new stub does in the template's page cannot be changed unnoticed: not a
// bit of a call, of its arguments or of the look at its result. The codes to give
// up with, and what the template itself does, are nobody's safety.
func TestProofFindsEveryFlippedBitOfANewStub(t *testing.T) {
	f := sealedForms(t)[3]
	label := func(name string) int {
		off, ok := f.stub.TemplateLabel(name)
		if !ok {
			t.Fatalf("no label %s", name)
		}
		return int(off)
	}
	s := *f.stub
	s.Template = slices.Clone(f.stub.Template)
	for _, in := range instructions(t, s.Template) {
		if in.off < label("stub") || in.off >= label("past-leave") {
			continue
		}
		if imm, ok := in.Args[1].(x86asm.Imm); ok && in.Op == x86asm.MOV && in.Args[0] == x86asm.EDI && imm >= 10 {
			continue // the code to give up with
		}
		for i := in.off; i < in.end(); i++ {
			for bit := range 8 {
				s.Template[i] ^= 1 << bit
				v := &verifier{stub: &s, lay: f.layout, filter: f.filter, seen: make(map[Finding]bool)}
				if v.walkBirth(); len(v.proof.Findings) == 0 && !equivalent(s.Template[in.off:], f.stub.Template[in.off:]) {
					after, _ := x86asm.Decode(s.Template[in.off:], 64)
					t.Errorf("not found: %v at %#x turned into %v", in, in.off, after)
				}
				s.Template[i] ^= 1 << bit
			}
		}
	}
}
