package guest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/guest"
	"goskas/internal/testkit"
	"goskas/program"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// target is what the hostile programs know of their stub.
type target struct {
	layout arch.StubLayout
	stub   *arch.Stub
	sites  string // how the labels of system calls begin
	// Offsets of the report in the stub's data.
	signal, futex int32
}

func newTarget(t *testing.T, g guard.Guard) target {
	t.Helper()
	a := amd64.New()
	var u target
	var err error
	if g.Sealed {
		u = target{sites: "site-", signal: stubabi.OffSealedSignal, futex: stubabi.OffSealedFutex}
		if u.layout, err = skas.SealedLayout(a); err == nil {
			u.stub, err = a.Sealed(u.layout)
		}
	} else {
		u = target{signal: stubabi.OffSignal, futex: stubabi.OffFutex}
		if u.layout, err = skas.Layout(a); err == nil {
			u.stub, err = a.Stub(u.layout, false) // the code page is the same with a listener
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// jump goes to the stub's system call of a name. rbx, where UML's stub has its
// data, is an address with nothing there: so what that stub does with the result
// is a segmentation fault.
func (u target) jump(t *testing.T, p *program.Program, name string) {
	t.Helper()
	at := uint64(0)
	for _, l := range u.stub.Labels {
		if l.Name == u.sites+name {
			at = l.Offset
		}
	}
	for {
		inst, err := x86asm.Decode(u.stub.Code[at:], 64)
		if err != nil {
			t.Fatal(err)
		}
		if inst.Op == x86asm.SYSCALL {
			break
		}
		at += uint64(inst.Len)
	}
	p.Mov(8, asm.RBX, asm.Imm(8))
	p.Mov(8, asm.R12, asm.Imm(8))
	p.Mov(8, asm.RCX, asm.Imm(int64(u.layout.Code)+int64(at)))
	p.JmpTo(asm.RCX)
}

// A process that turns on its own stub dies by SIGSEGV; its parent and its
// sibling, which is at work meanwhile, see nothing of it. What the guard denied
// or killed is counted and logged.
func TestGuestHostileProcessHarmsItselfOnly(t *testing.T) {
	// A traced stub has nothing to turn on: see skas.TestKernelTracedBatchCode.
	t.Setenv("SKAS_MODE", skas.ModeSeccomp.String())
	g := testkit.Guard(t)
	u := newTarget(t, g)
	const foreign = 7 * arch.PageSize
	// What the sealed filter wants; other stubs have no descriptor of memory.
	flags, fd := int64(unix.MAP_SHARED|unix.MAP_FIXED), int64(-1)
	if g.Sealed {
		flags, fd = stubabi.SealedMapFlags, 0
	}
	for _, c := range []struct {
		name string
		do   func(p *program.Program)
		// How often under each guard, and what the log says then.
		denied, refused map[string]uint64
		log             []string
	}{
		{name: "maps a frame", do: func(p *program.Program) {
			for i, v := range []int64{0x10000, arch.PageSize, unix.PROT_READ | unix.PROT_WRITE, flags, fd, foreign} {
				p.Load([]asm.Reg{asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9}[i], asm.Imm(v))
			}
			p.Load(asm.RAX, unix.SYS_MMAP)
			u.jump(t, p, "mmap")
		}, denied: map[string]uint64{"validate": 1}, log: []string{"mapping call denied", "pid=", "addr=0x10000", "offset=0x7000", "reason="}},
		{name: "unmaps its stub", do: func(p *program.Program) {
			p.Load(asm.RDI, asm.Imm(int64(u.layout.Data)+int64(u.layout.DataPages)*arch.PageSize-arch.PageSize))
			p.Load(asm.RSI, arch.PageSize)
			p.Load(asm.RAX, unix.SYS_MUNMAP)
			u.jump(t, p, "munmap")
		}, denied: map[string]uint64{"validate": 1}, log: []string{"mapping call denied", "call=munmap", "range not in guest space"}},
		{name: "says nonsense", do: func(p *program.Program) {
			p.Mov(8, asm.RBX, asm.Imm(int64(u.layout.Data)))
			p.Label("again")
			p.Mov(4, asm.Ptr(asm.RBX, u.signal), asm.Imm(77))
			p.Mov(4, asm.Ptr(asm.RBX, u.futex), asm.Imm(stubabi.InKern))
			p.Jmp("again")
		}, refused: map[string]uint64{"none": 1, "notify": 1, "validate": 1, "sealed": 1}, log: []string{"stub killed", "pid=", "signal 77"}},
		{name: "makes a call that no stub makes", do: func(p *program.Program) {
			p.Load(asm.RAX, unix.SYS_GETPID)
			u.jump(t, p, "mmap")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := program.New()
			// The sibling: work, memory and a child of its own.
			p.Fork(func() {
				p.Load(asm.RBP, 0)
				p.Loop(asm.R12, 50, func() {
					p.Sys(unix.SYS_MMAP, 0, 16*arch.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
					p.Check("mmap")
					p.Mov(8, asm.RBX, asm.RAX)
					p.Mov(8, asm.Ptr(asm.RBX, 8*arch.PageSize), asm.R12)
					p.Fork(func() {})
					p.Wait(-1)
					p.Alu(asm.Add, 8, asm.RBP, asm.Ptr(asm.RBX, 8*arch.PageSize))
					p.Sys(unix.SYS_MUNMAP, asm.RBX, 16*arch.PageSize)
					p.Check("munmap")
				})
				p.If(asm.RBP, asm.NE, asm.Imm(50*51/2), func() { p.Exit(1) })
				p.Exit(42)
			})
			p.Mov(8, asm.R12, asm.RAX)
			p.Fork(func() { c.do(p) })
			p.Mov(8, asm.R13, asm.RAX)
			p.Wait(asm.R13)
			p.Print("hostile: ", asm.RAX, "\n")
			p.Wait(asm.R12)
			p.Print("sibling: ", asm.RAX, "\n")
			p.Exit(0)

			var log bytes.Buffer
			m := boot(t, guest.Config{CPUs: 2, Files: map[string][]byte{"init": p.MustBuild()},
				Log: slog.New(slog.NewTextHandler(&log, nil))})
			m.hostile = true
			m.calm(t, func() {
				if status, err := m.Run(t.Context(), "/toy/init", []string{"init"}, nil); status != 0 || err != nil {
					t.Errorf("status %d, %v", status, err)
				}
			})
			s := m.Stats().Skas
			if diff := cmp.Diff(fmt.Sprintf("hostile: %d\nsibling: %d\n", unix.SIGSEGV, 42<<8), m.out()); diff != "" {
				t.Error(diff)
			}
			denied, refused := c.denied[g.String()], c.refused[g.String()]
			if s.Denied != denied || s.Refused != refused || s.Stalled != 0 {
				t.Errorf("%d denied, %d refused, %d stalled; want %d, %d, 0", s.Denied, s.Refused, s.Stalled, denied, refused)
			}
			for _, part := range c.log {
				if denied+refused > 0 && !strings.Contains(log.String(), part) {
					t.Errorf("the log lacks %q:\n%s", part, log.String())
				}
			}
		})
	}
}
