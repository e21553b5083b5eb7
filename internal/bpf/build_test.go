package bpf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func build(t *testing.T, emit func(b *Builder)) *Program {
	t.Helper()
	b := New()
	emit(b)
	p, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verdict runs emit with labels yes and no to jump to.
func verdict(t *testing.T, emit func(b *Builder), d *Data) string {
	t.Helper()
	p := build(t, func(b *Builder) {
		emit(b)
		b.Ret(Errno(1)) // Next
		b.Label("no")
		b.Ret(Errno(2))
		b.Label("yes")
		b.Ret(Errno(3))
	})
	return map[Action]string{Errno(1): "next", Errno(2): "no", Errno(3): "yes"}[p.Run(d)]
}

func TestJumpHelpers(t *testing.T) {
	type spec func(v uint64) bool
	edges := func(around ...uint64) []uint64 {
		vs := []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)}
		for _, v := range around {
			vs = append(vs, v-1, v, v+1, v+1<<32, v-1<<32, v^1<<31, v^1<<63)
		}
		return vs
	}
	const lo, hi = 0x7fff_ffff_c000, 0x7fff_ffff_d000
	for _, c := range []struct {
		name  string
		emit  func(b *Builder, yes, no string)
		spec  spec
		edges []uint64
	}{
		{"equal", func(b *Builder, y, n string) { b.JumpEqual(Arg(2), lo, y, n) }, func(v uint64) bool { return v == lo }, edges(lo)},
		{"equal 0", func(b *Builder, y, n string) { b.JumpEqual(Arg(2), 0, y, n) }, func(v uint64) bool { return v == 0 }, edges()},
		{"page", func(b *Builder, y, n string) { b.JumpWide(Arg(2), ^uint64(0xfff), lo, y, n) }, func(v uint64) bool { return v&^0xfff == lo }, edges(lo, hi, lo+0xfff)},
		{"low mask", func(b *Builder, y, n string) { b.JumpWide(Arg(2), 0xf0, 0x30, y, n) }, func(v uint64) bool { return v&0xf0 == 0x30 }, edges(0x30, 0x3f, 0x40)},
		{"below", func(b *Builder, y, n string) { b.JumpBelow(Arg(2), lo, y, n) }, func(v uint64) bool { return v < lo }, edges(lo)},
		{"below 4G", func(b *Builder, y, n string) { b.JumpBelow(Arg(2), 1<<32, y, n) }, func(v uint64) bool { return v < 1<<32 }, edges()},
		{"below 0", func(b *Builder, y, n string) { b.JumpBelow(Arg(2), 0, y, n) }, func(v uint64) bool { return false }, edges()},
		{"range", func(b *Builder, y, n string) { b.JumpInRange(Arg(2), lo, hi, y, n) }, func(v uint64) bool { return v >= lo && v < hi }, edges(lo, hi)},
		{"range over 4G", func(b *Builder, y, n string) { b.JumpInRange(Arg(2), 1<<31, 1<<33, y, n) }, func(v uint64) bool { return v >= 1<<31 && v < 1<<33 }, edges(1 << 33)},
		{"32-bit range", func(b *Builder, y, n string) { b.Load(Arg(2).Lo()); b.JumpRange(3, 1<<31, y, n) }, func(v uint64) bool { return uint32(v) >= 3 && uint32(v) < 1<<31 }, edges(3)},
	} {
		for _, labels := range [][2]string{{"yes", "no"}, {"yes", Next}, {Next, "no"}} {
			for _, v := range c.edges {
				want := labels[1]
				if c.spec(v) {
					want = labels[0]
				}
				if want == Next {
					want = "next"
				}
				d := &Data{Args: [6]uint64{2: v}}
				if got := verdict(t, func(b *Builder) { c.emit(b, labels[0], labels[1]) }, d); got != want {
					t.Errorf("%s %q: %#x goes to %s, want %s", c.name, labels, v, got, want)
				}
			}
		}
	}
}

func TestFields(t *testing.T) {
	d := &Data{NR: 1, Arch: 2, IP: 4<<32 | 3}
	words := []Word{NR, Arch, IP.Lo(), IP.Hi()}
	want := []string{"nr=1", "arch=2", "ip.lo=3", "ip.hi=4"}
	for i := range 6 {
		d.Args[i] = uint64(6+2*i)<<32 | uint64(5+2*i)
		words = append(words, Arg(i).Lo(), Arg(i).Hi())
		want = append(want, fmt.Sprintf("arg%d.lo=%d", i, 5+2*i), fmt.Sprintf("arg%d.hi=%d", i, 6+2*i))
	}
	var got []string
	for _, w := range words {
		p := build(t, func(b *Builder) {
			b.Load(w)
			b.Raw(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
		})
		got = append(got, fmt.Sprintf("%v=%d", w, uint32(p.Run(d))))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Conditional jumps reach 255 instructions; the builder bridges longer ones.
func TestFarJumps(t *testing.T) {
	for _, gap := range []int{0, 250, 253, 254, 255, 256, 257, 300, 1000} {
		for _, labels := range [][2]string{{"far", Next}, {Next, "far"}, {"far", "end"}, {"end", "far"}, {"mid", "far"}} {
			p := build(t, func(b *Builder) {
				b.Load(NR)
				b.Jump(Eq, 7, labels[0], labels[1])
				b.Ret(Errno(1))
				b.Label("mid")
				b.Ret(Errno(2))
				// More jumps that become far push the labels further.
				for i := range gap {
					b.Jump(Eq, uint32(i), "far", "end")
				}
				b.Label("far")
				b.Ret(Errno(3))
				b.Label("end")
				b.Ret(Errno(4))
			})
			num := map[string]Action{Next: Errno(1), "mid": Errno(2), "far": Errno(3), "end": Errno(4)}
			for nr, label := range map[uint32]string{7: labels[0], 8: labels[1]} {
				if got := p.Run(&Data{NR: nr}); got != num[label] {
					t.Errorf("gap %d %q: nr %d gives %v, want %v", gap, labels, nr, got, num[label])
				}
			}
		}
	}
}

func TestBuilderErrors(t *testing.T) {
	for want, emit := range map[string]func(b *Builder){
		`no label "nowhere"`: func(b *Builder) { b.Goto("nowhere"); b.Ret(Allow) },
		`"twice" is defined`: func(b *Builder) { b.Label("twice"); b.Ret(Allow); b.Label("twice"); b.Ret(Allow) },
		`only go forward`:    func(b *Builder) { b.Label("back"); b.Load(NR); b.Goto("back"); b.Ret(Allow) },
		`not a return`:       func(b *Builder) { b.Load(NR) },
		`past the end`:       func(b *Builder) { b.Jump(Eq, 1, "end", Next); b.Ret(Allow); b.Label("end") },
		`0 instructions`:     func(*Builder) {},
		`outside the mask`:   func(b *Builder) { b.JumpWide(IP, 0xff0, 1, "x", Next); b.Ret(Allow); b.Label("x"); b.Ret(Trap) },
		`needs a name`:       func(b *Builder) { b.Label(""); b.Ret(Allow) },
		`code 0x28 is not`:   func(b *Builder) { b.Raw(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS}); b.Ret(Allow) },
		`4097 instructions`: func(b *Builder) {
			for range 4097 {
				b.Ret(Allow)
			}
		},
	} {
		b := New()
		emit(b)
		if p, err := b.Program(); err == nil || !strings.Contains(err.Error(), want) || p != nil {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestArgOutOfRangeIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Arg(6)
}

func TestText(t *testing.T) {
	p := build(t, func(b *Builder) {
		b.Load(Arch)
		b.Jump(Eq, unix.AUDIT_ARCH_X86_64, Next, "kill")
		b.JumpWide(IP, ^uint64(0xfff), 0x1000, Next, "kill")
		b.Load(NR)
		b.Note("close")
		b.Jump(Eq, 3, "allow", Next)
		b.Label("kill")
		b.Ret(KillProcess)
		b.Label("allow")
		b.Ret(Allow)
	})
	want := `    0  0020 00 00 00000004  A = arch
    1  0015 00 07 c000003e  if A == 0xc000003e else kill
    2  0020 00 00 0000000c  A = ip.hi
    3  0015 00 05 00000000  if A == 0x0 else kill
    4  0020 00 00 00000008  A = ip.lo
    5  0054 00 00 fffff000  A &= 0xfffff000
    6  0015 00 02 00001000  if A == 0x1000 else kill
    7  0020 00 00 00000000  A = nr
    8  0015 01 00 00000003  if A == 0x3 goto allow                   ; close
kill:
    9  0006 00 00 80000000  return KILL_PROCESS
allow:
   10  0006 00 00 7fff0000  return ALLOW
`
	if diff := cmp.Diff(want, p.Text()); diff != "" {
		t.Error(diff)
	}
	bare, err := Decode(p.Insns)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Label{{"L0", 9}, {"L1", 10}}, bare.Labels); diff != "" {
		t.Error(diff)
	}
}

func TestTextOfEveryInstruction(t *testing.T) {
	for want, in := range map[string]unix.SockFilter{
		"A = len":            {Code: unix.BPF_LD | unix.BPF_LEN},
		"X = len":            {Code: unix.BPF_LDX | unix.BPF_LEN},
		"A = 0x5":            {Code: unix.BPF_LD | unix.BPF_IMM, K: 5},
		"X = 0x5":            {Code: unix.BPF_LDX | unix.BPF_IMM, K: 5},
		"A = M[3]":           {Code: unix.BPF_LD | unix.BPF_MEM, K: 3},
		"X = M[3]":           {Code: unix.BPF_LDX | unix.BPF_MEM, K: 3},
		"M[3] = A":           {Code: unix.BPF_ST, K: 3},
		"M[3] = X":           {Code: unix.BPF_STX, K: 3},
		"X = A":              {Code: unix.BPF_MISC | unix.BPF_TAX},
		"A = X":              {Code: unix.BPF_MISC | unix.BPF_TXA},
		"A = -A":             {Code: unix.BPF_ALU | unix.BPF_NEG},
		"A <<= X":            {Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_X},
		"A ^= 0x1":           {Code: unix.BPF_ALU | unix.BPF_XOR, K: 1},
		"if A & X":           {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_X},
		"goto":               {Code: unix.BPF_JMP | unix.BPF_JA},
		"return A":           {Code: unix.BPF_RET | unix.BPF_A},
		"return ERRNO EPERM": {Code: unix.BPF_RET, K: uint32(Errno(unix.EPERM))},
		"return ERRNO 4000":  {Code: unix.BPF_RET, K: uint32(Errno(4000))},
		"return USER_NOTIF":  {Code: unix.BPF_RET, K: uint32(UserNotif)},
		"return TRAP 7":      {Code: unix.BPF_RET, K: uint32(Trap) | 7},
		"return 0x12345678":  {Code: unix.BPF_RET, K: 0x12345678},
		"unknown 0xffff":     {Code: 0xffff},
		"A = arg5.hi":        {Code: unix.BPF_LD | unix.BPF_ABS, K: 60},
		"A /= 0x2":           {Code: unix.BPF_ALU | unix.BPF_DIV, K: 2},
		"if A >= 0x2":        {Code: unix.BPF_JMP | unix.BPF_JGE, K: 2},
	} {
		if got := text(in); got != want {
			t.Errorf("%+v: %q, want %q", in, got, want)
		}
	}
}

func TestCheckScratch(t *testing.T) {
	st, ld := unix.SockFilter{Code: unix.BPF_ST, K: 2}, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_MEM, K: 2}
	ret := unix.SockFilter{Code: unix.BPF_RET}
	skip := func(yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ, Jt: yes, Jf: no}
	}
	for _, c := range []struct {
		name string
		p    []unix.SockFilter
		ok   bool
	}{
		{"written", []unix.SockFilter{st, ld, ret}, true},
		{"never written", []unix.SockFilter{ld, ret}, false},
		{"written on one way", []unix.SockFilter{skip(1, 0), st, ld, ret}, false},
		{"written on both ways", []unix.SockFilter{skip(2, 0), st, skip(1, 1), st, ld, ret}, true},
		{"other word", []unix.SockFilter{st, {Code: unix.BPF_LD | unix.BPF_MEM, K: 3}, ret}, false},
		{"no such word", []unix.SockFilter{{Code: unix.BPF_ST, K: 16}, ret}, false},
	} {
		if err := Check(c.p); errors.Is(err, ErrProgram) == c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
