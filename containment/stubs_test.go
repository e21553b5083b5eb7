package containment

import (
	"encoding/binary"
	"slices"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/internal/bpf"
	"goskas/internal/testkit"
	"goskas/stubexe"

	"golang.org/x/sys/unix"
)

// otherStub is a CPU whose sealed stub is not the one that is used.
type otherStub struct {
	arch.Arch
	change func(l arch.StubLayout, s *arch.Stub) error
}

func (a otherStub) Sealed(l arch.StubLayout) (*arch.Stub, error) {
	s, err := a.Arch.Sealed(l)
	if err == nil {
		err = a.change(l, s)
	}
	return s, err
}

// runWith runs a case under guard sealed with a stub and a policy of the caller's;
// edit may change what the programs know of the stub.
func (c *Case) runWith(t *testing.T, set setting, edit func(p *protocol)) Result {
	t.Helper()
	r := Result{Case: c.Name, Guard: guard.Sealed.String(), Want: c.Want.Sealed}
	set.guard, set.hz, set.memory = guard.Sealed, c.hz, c.memory
	testkit.Need(t, guard.Sealed.Needs...)
	err := staged(set, newStage, func(s *stage) error {
		s.tracing = testLog{t}
		if edit != nil {
			edit(s.proto)
		}
		return c.on(s, &r)
	})
	if err != nil {
		r.Err = err.Error()
	}
	t.Logf("%s: %s", r.Verdict, r.Why)
	return r
}

// addSigreturn gives a stub a further site, behind its code, at which its filter
// allows rt_sigreturn.
func addSigreturn(l arch.StubLayout, s *arch.Stub) error {
	s.Labels = append(s.Labels, arch.Label{Name: "site-sigreturn", Offset: uint64(len(s.Code)) + 5})
	s.Code = append(slices.Clone(s.Code), 0xb8, unix.SYS_RT_SIGRETURN, 0, 0, 0, 0x0f, 0x05) // mov eax, imm; syscall
	behind := uint64(l.Code) + uint64(len(s.Code))
	return widenFilter(l, s, func(b *bpf.Builder, rest string) {
		b.JumpEqual(bpf.IP, behind, bpf.Next, rest)
		b.Load(bpf.Arch)
		b.Jump(bpf.Eq, unix.AUDIT_ARCH_X86_64, bpf.Next, rest)
		b.Load(bpf.NR)
		b.Jump(bpf.Eq, unix.SYS_RT_SIGRETURN, bpf.Next, rest)
		b.Ret(bpf.Allow)
	})
}

// widenFilter puts rules before those of the filter. What they do not decide they
// leave to it, at the label rest.
//
// The start-up program takes what stands behind it for its filter, and its last 8
// bytes for the length. This one brings its own along; the one that is
// appended to every program comes behind that, and is not looked at.
func widenFilter(l arch.StubLayout, s *arch.Stub, rules func(b *bpf.Builder, rest string)) error {
	b := bpf.New()
	rules(b, "rest")
	b.Label("rest")
	b.Ret(bpf.KillProcess) // stands for what follows
	p, err := b.Program()
	if err != nil {
		return err
	}
	sealed, err := stubexe.SealedFilter(l, s, unix.AUDIT_ARCH_X86_64)
	if err != nil {
		return err
	}
	filter := slices.Concat(p.Insns[:len(p.Insns)-1], sealed)
	le := binary.LittleEndian
	text := le.AppendUint64(slices.Clone(s.Program[:len(s.Program)-8]), uint64(len(filter)))
	for _, f := range filter {
		text = le.AppendUint16(text, f.Code)
		text = append(text, f.Jt, f.Jf)
		text = le.AppendUint32(text, f.K)
	}
	s.Program = le.AppendUint64(text, 0)
	return nil
}

// With rt_sigreturn a forged frame has the host write a signal frame into a frame
// that is another's, before any check: by the trap flag, or by a tick while much
// is mapped. Without it, it does nothing.
func TestKernelForgedFrameNeedsSigreturn(t *testing.T) {
	testkit.NoLeaks(t)
	for _, x := range []struct {
		stub string
		arch arch.Arch
		edit func(p *protocol)
		want Verdict
	}{
		{"as it is", amd64.New(), nil, Killed},
		{"with rt_sigreturn", otherStub{amd64.New(), addSigreturn}, useSigreturn, Breached},
	} {
		for _, name := range []string{"forged-frame", "forged-frame-tick"} {
			t.Run(x.stub+"/"+name, func(t *testing.T) {
				if r := find(t, name).runWith(t, setting{arch: x.arch}, x.edit); r.Err != "" || r.Verdict != x.want {
					t.Errorf("%s, not %s: %s%s", r.Verdict, x.want, r.Why, r.Err)
				}
			})
		}
	}
}

func useSigreturn(p *protocol) { p.sites[siteSigreturn] = p.layout.Code + p.code["site-sigreturn"] }
