package program_test

import (
	"bytes"
	"debug/elf"
	"strings"
	"testing"

	"goskas/arch/amd64/asm"
	"goskas/guest"
	"goskas/internal/testguest"
	"goskas/program"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// programs run natively and in a guest; both must give what is written here.
var programs = []struct {
	name   string
	code   func(*program.Program)
	status int
	out    string
}{
	{"exit", func(p *program.Program) { p.Exit(42) }, 42, ""},
	{"print", func(p *program.Program) {
		p.Mov(8, asm.RAX, asm.Imm(1))
		p.Mov(8, asm.RDI, asm.Imm(-1))
		p.Mov(8, asm.R12, asm.Imm(0))
		p.Mov(8, p.Word("w"), asm.Imm(1000))
		p.Print("text\n")
		p.Mov(8, asm.RAX, asm.Imm(1))
		p.Mov(8, asm.RDI, asm.Imm(-1))
		p.Print(asm.RAX, " ", asm.RDI, " ", asm.R12, " ", asm.At("w"), " ", 77, " ", asm.RAX, "\n")
		p.Fprint(2, "error ", unix.SIGSEGV, "\n")
		p.Exit(asm.At("w"))
	}, 1000 & 0xff, "text\n1 18446744073709551615 0 1000 77 1\nerror 11\n"},
	{"flow", func(p *program.Program) {
		p.Mov(8, asm.R13, asm.Imm(0))
		p.Loop(asm.R12, 5, func() {
			p.If(asm.R12, asm.NE, asm.Imm(3), func() { p.Call("add") })
		})
		p.While(func(end string) {
			p.Alu(asm.Cmp, 8, asm.R13, asm.Imm(9))
			p.Jcc(asm.LE, end)
			p.Dec(8, asm.R13)
		})
		p.Loop(asm.R12, 0, func() { p.Print("never\n") })
		p.Print("sum ", asm.R13, "\n")
		p.Exit(asm.R13)
		p.Func("add", func() {
			p.Alu(asm.Add, 8, asm.R13, asm.R12)
			p.Call("deeper")
			p.Func("deeper", func() { p.Nop() })
		})
	}, 9, "sum 9\n"},
	{"data", func(p *program.Program) {
		p.Data("table", []byte{1, 2, 3, 4, 5, 6, 7, 8})
		page := p.Reserve("page", 4096, 4096)
		p.Load(asm.RBX, page)
		p.Alu(asm.And, 8, asm.RBX, asm.Imm(4095))
		p.Mov(8, asm.R12, asm.At("page"))
		p.Inc(1, asm.At("table")) // data can be written
		p.Mov(1, asm.At("page"), asm.Imm(5))
		p.Lea(asm.RBP, asm.At("table"))
		p.Load(asm.R13, program.Addr(asm.Ptr(asm.RBP, 6)))
		p.Movzx(1, asm.R13, asm.Ptr(asm.R13, 0))
		p.Movzx(1, asm.R14, asm.At("table"))
		p.Movzx(1, asm.R15, asm.At("page"))
		p.Print(asm.RBX, " ", asm.R12, " ", asm.R13, " ", asm.R14, " ", asm.R15, "\n")
		p.Exit(0)
	}, 0, "0 0 7 2 5\n"},
	{"arguments", func(p *program.Program) {
		p.Mov(8, asm.RBX, asm.Ptr(asm.RSP, 0))
		p.Mov(8, asm.R12, asm.Ptr(asm.RSP, 16)) // argv[1]
		p.Mov(8, asm.R13, asm.Ptr(asm.RSP, 32)) // envp[0]
		p.Movzx(1, asm.R12, asm.Ptr(asm.R12, 0))
		p.Movzx(1, asm.R13, asm.Ptr(asm.R13, 0))
		p.Print(asm.RBX, " ", asm.R12, " ", asm.R13, "\n")
		p.Exit(0)
	}, 0, "2 65 69\n"},
	{"processes", func(p *program.Program) {
		p.Fork(func() {
			p.Print("child\n")
			p.Exit(7)
		})
		p.Wait(asm.RAX)
		p.Shr(8, asm.RAX, 8)
		p.Print("status ", asm.RAX, "\n")
		p.Fork(func() {})
		p.Wait(-1)
		p.Exit(asm.RAX)
	}, 0, "child\nstatus 7\n"},
	{"exec", func(p *program.Program) { // itself, with other arguments, once
		p.If(asm.Ptr(asm.RSP, 0), asm.E, asm.Imm(3), func() {
			p.Print("executed\n")
			p.Exit(3)
		})
		p.Sys(unix.SYS_EXECVE, "/proc/self/exe", p.Vector("program", "B", "C"), p.Vector())
		p.Check("execve")
	}, 3, "executed\n"},
	{"failed call", func(p *program.Program) {
		p.Sys(unix.SYS_CLOSE, -1)
		p.Check("close")
		p.Exit(0)
	}, 99, "close: error 9\n"},
	{"text is not writable", func(p *program.Program) {
		p.Label("here").Mov(8, asm.At("here"), asm.Imm(0))
		p.Exit(0)
	}, 128 + 11, ""},
	{"data is not executable", func(p *program.Program) {
		p.Data("code", []byte{0xc3})
		p.Call("code")
		p.Exit(0)
	}, 128 + 11, ""},
}

func TestGuestProgramsRunAsOnTheHost(t *testing.T) {
	for _, c := range programs {
		t.Run(c.name, func(t *testing.T) {
			p := program.New()
			c.code(p)
			image, err := p.Build()
			if err != nil {
				t.Fatal(err)
			}
			want := testguest.Result{Status: c.status, Out: c.out}
			files := map[string][]byte{"program": image}
			argv, env := []string{"program", "A"}, []string{"E=1"}
			if diff := cmp.Diff(want, testguest.OnHost(t, files, argv, env)); diff != "" {
				t.Errorf("on the host:\n%s", diff)
			}
			got, _ := testguest.InGuest(t, guest.Config{Memory: 32 << 20, Files: files}, argv, env)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("in a guest:\n%s", diff)
			}
		})
	}
}

// W^X: exactly one executable and one writable segment, and no executable stack.
func TestSegments(t *testing.T) {
	p := program.New()
	p.Exit(0)
	p.Data("d", []byte{1})
	p.Reserve("z", 1<<20, 4096)
	image, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	if len(image) > 4*4096 {
		t.Errorf("an image of %d bytes: zeroed memory lies in the file", len(image))
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range f.Progs {
		got = append(got, s.Type.String()+" "+s.Flags.String())
	}
	want := []string{"PT_LOAD PF_X+PF_R", "PT_LOAD PF_W+PF_R", "PT_GNU_STACK PF_W+PF_R"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesAreReported(t *testing.T) {
	for _, c := range []struct {
		code func(*program.Program)
		want string
	}{
		{func(p *program.Program) { p.Sys(unix.SYS_READ, 0, asm.RDI) }, "an earlier one has filled"},
		{func(p *program.Program) { p.Sys(unix.SYS_READ, 0, asm.Ptr(asm.RDI, 8)) }, "an earlier one has filled"},
		{func(p *program.Program) { p.Sys(unix.SYS_READ, 0, program.Addr(asm.Idx(asm.RBX, asm.RDI, 1, 8))) }, "an earlier one has filled"},
		{func(p *program.Program) { p.Sys(unix.SYS_READ, 1, 2, 3, 4, 5, 6, 7) }, "7 arguments"},
		{func(p *program.Program) { p.Sys(unix.SYS_READ, 1.5) }, "type float64"},
		{func(p *program.Program) { p.Print(asm.Ptr(asm.RSP, 8), "\n") }, "on the stack"},
		{func(p *program.Program) { p.Print(strings.Repeat("x", 1020), 1, "\n") }, "do not fit"},
		{func(p *program.Program) { p.Reserve("r", 0, 3) }, "alignment 3"},
		{func(p *program.Program) { p.Jmp("nowhere") }, "nowhere"},
		{func(p *program.Program) { p.Label("x").Label("x") }, "twice"},
	} {
		p := program.New()
		c.code(p)
		if _, err := p.Build(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v lacks %q", err, c.want)
		}
	}
}
