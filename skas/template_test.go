package skas

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"

	"golang.org/x/sys/unix"
)

// templateOf is the template of a rig under guard sealed.
func (r *rig) templateOf() *MM { return r.mon.protocol.(*sealed).template.mm }

// stubPagesInUse is the number of stub pages that are in use.
func (r *rig) stubPagesInUse() int { return r.mon.protocol.(*sealed).pages.Stats().InUse }

// works runs a system call in a fresh stub.
func (r *rig) works() error {
	a := asm.New(textAt)
	a.Syscall()
	code, err := a.Assemble()
	if err != nil {
		return err
	}
	x, err := r.mon.NewMM()
	if err != nil {
		return err
	}
	defer x.Destroy()
	copy(r.page(x, textAt, arch.Read|arch.Exec), code)
	regs := new(arch.Regs)
	r.arch.Start(regs, textAt, 0)
	regs.X = nil
	_, err = r.vcpu.Run(x, regs)
	return err
}

// The template can be killed like any stub. Those that it has made do not mind,
// and the next one gets another template.
func TestKernelKilledTemplate(t *testing.T) {
	testkit.NoLeaks(t)
	r := newRig(t, 0, under(t, guard.Sealed))
	x, regs := r.program(callForever)
	for range 5 {
		old := r.templateOf()
		unix.Kill(old.PID(), unix.SIGKILL)
		for !old.dead.Load() {
			time.Sleep(time.Millisecond)
		}
		if err := r.works(); err != nil {
			t.Error(err)
		}
		if r.templateOf() == old {
			t.Error("the dead template was kept")
		}
		if ev, err := r.vcpu.Run(x, regs); err != nil || ev.Kind != Syscall {
			t.Errorf("a stub of the first template: %+v, %v", ev, err)
		}
	}
	x.Destroy()
	r.mon.Quiesce()
	own := 1 + r.mon.protocol.(*sealed).dataPages()
	if used := r.stubPagesInUse(); used != codePages+own {
		t.Errorf("%d stub pages in use, of which a template has %d", used, own)
	}
}

// Killed at any moment, the template takes at most the stub along that it is about
// to make; nobody is left without a monitor that knows of it.
func TestKernelTemplateKilledAtAnyMoment(t *testing.T) {
	testkit.NoLeaks(t)
	r := newRig(t, 0, under(t, guard.Sealed))
	if err := r.works(); err != nil {
		t.Fatal(err)
	}
	var killer sync.WaitGroup
	made, failed := 0, 0
	for i := range 150 {
		if x := r.templateOf(); x != nil && !x.dead.Load() {
			killer.Go(func() {
				for until := time.Now().Add(time.Duration(rand.IntN(900)) * time.Microsecond); time.Now().Before(until); {
				}
				x.kill()
			})
		}
		err := r.works()
		switch {
		case err == nil:
			made++
		case errors.Is(err, ErrStubDead):
			failed++
		default:
			t.Fatalf("round %d: %v", i, err)
		}
		killer.Wait()
	}
	t.Logf("%d stubs made, %d not", made, failed)
	if made == 0 || failed == 0 {
		t.Error("the test shows nothing")
	}
	if err := r.works(); err != nil && !errors.Is(err, ErrStubDead) {
		t.Error(err)
	}
	if err := r.works(); err != nil {
		t.Error(err)
	}
	r.mon.Quiesce()
	for r.templateOf().dead.Load() {
		time.Sleep(time.Millisecond)
	}
	if children := testkit.Children(t, os.Getpid()); !slices.Equal(children, []int{r.templateOf().PID()}) {
		t.Errorf("children %v, and the template is %d", children, r.templateOf().PID())
	}
}

// otherTemplate is a CPU whose template has other code.
type otherTemplate struct {
	arch.Arch
	change func(s *arch.Stub)
}

func (a otherTemplate) Sealed(l arch.StubLayout) (*arch.Stub, error) {
	s, err := a.Arch.Sealed(l)
	if err == nil {
		a.change(s)
	}
	return s, err
}

// beforeTelling puts other code in the place of the call by which the template
// tells of a copy.
func beforeTelling(s *arch.Stub, code ...byte) {
	at, _ := s.TemplateLabel("tell")
	s.Template = slices.Concat(s.Template[:at], code, s.Template[int(at)+len(code):])
}

// A template that dies between making a copy and telling of it leaves one that
// nobody knows, which would share its pages with the next stub.
func TestKernelCopyThatNobodyWasToldOf(t *testing.T) {
	testkit.NoLeaks(t)
	for name, change := range map[string]func(*arch.Stub){
		"reports something else": func(s *arch.Stub) { beforeTelling(s, 0x0f, 0x0b) }, // ud2
		"exits": func(s *arch.Stub) { // jmp
			from, _ := s.TemplateLabel("tell")
			to, _ := s.TemplateLabel("give-up")
			beforeTelling(s, binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(to-from-5))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 0, under(t, guard.Sealed), func(c *Config) { c.Arch = otherTemplate{amd64.New(), change} })
			for range 5 {
				if x, err := r.mon.NewMM(); x != nil || !errors.Is(err, ErrStubDead) {
					t.Fatalf("%v, %v", x, err)
				}
				if children := testkit.Children(t, os.Getpid()); len(children) != 0 {
					t.Errorf("children %v", children)
				}
			}
		})
	}
}

// The host may refuse another process. Nothing is lost but the stub.
func TestKernelTemplateMayNotClone(t *testing.T) {
	testkit.NoLeaks(t)
	refused := asm.New(0)
	refused.Mov(8, asm.RDI, asm.Imm(-int64(unix.EAGAIN)))
	refused.Syscall()
	code, err := refused.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 0, under(t, guard.Sealed), func(c *Config) {
		c.Arch = otherTemplate{amd64.New(), func(s *arch.Stub) { copy(s.Template, code) }}
	})
	var before *MM
	for range 3 {
		if x, err := r.mon.NewMM(); x != nil || !errors.Is(err, unix.EAGAIN) || !strings.Contains(err.Error(), "copy the template for stubs: clone") {
			t.Fatalf("%v, %v", x, err)
		}
		if before != nil && r.templateOf() != before {
			t.Error("another template")
		}
		before = r.templateOf()
	}
}

// Without a descriptor for it a stub cannot be watched: it is ended, not lost.
func TestKernelNoDescriptorForACopy(t *testing.T) {
	testkit.NoLeaks(t)
	r := newRig(t, 0, under(t, guard.Sealed))
	if err := r.works(); err != nil {
		t.Fatal(err)
	}
	r.mon.Quiesce()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	low := limit
	low.Cur = uint64(next)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	x, err := r.mon.NewMM()
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); e != nil {
		t.Fatal(e)
	}
	if x != nil || !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v, %v", x, err)
	}
	if children := testkit.Children(t, os.Getpid()); len(children) != 0 {
		t.Errorf("children %v", children)
	}
	if err := r.works(); err != nil {
		t.Error(err)
	}
}
