package amd64

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"goskas/arch"

	"github.com/google/go-cmp/cmp"
)

func randomRegs(r *rand.Rand, a *Arch) arch.Regs {
	var regs arch.Regs
	for i := range regs.GPR {
		regs.GPR[i] = r.Uint64()
	}
	regs.GPR[rsp] = 0x7000_0000_0000 + r.Uint64N(1<<30)
	regs.GPR[rflags] = r.Uint64()&flagsUser | flagsFixed
	regs.X = make([]byte, a.XSize())
	for i := range regs.X {
		regs.X[i] = byte(r.Uint32())
	}
	a.SanitizeX(regs.X)
	clear(regs.X[xSwBytes:xLegacyEnd])
	return regs
}

// A frame pushed and popped gives the registers that there were.
func TestSignalFrameRoundTrip(t *testing.T) {
	a := New()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 120 {
		before := randomRegs(rnd, a)
		s := &arch.Signal{No: 10, Handler: 0x1234, Restorer: 0x5678, Mask: rnd.Uint64(),
			AltBase: 0x2000_0000, AltSize: 0x10000, OnStack: rnd.IntN(2) == 0}
		regs := before
		frame, at := a.PushSignal(&regs, s)
		if regs.GPR[rsp]%16 != 8 {
			t.Fatalf("stack pointer %#x is not as after a call", regs.GPR[rsp])
		}
		if s.OnStack && (at < s.AltBase || uint64(at-s.AltBase)+uint64(len(frame)) > s.AltSize) {
			t.Fatalf("frame at %#x is not on the alternate stack", at)
		}
		if !s.OnStack && uint64(at)+uint64(len(frame)) > before.GPR[rsp]-redZone {
			t.Fatalf("frame reaches into the red zone")
		}
		if got := binary.LittleEndian.Uint64(frame); got != 0x5678 {
			t.Fatalf("return address %#x", got)
		}
		regs.GPR[rsp] += 8 // the handler returns
		back, err := a.PopSignal(&regs, func(p arch.Addr, b []byte) error {
			copy(b, frame[p-at:])
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		clear(regs.X[xSwBytes:xLegacyEnd])
		if diff := cmp.Diff(before, regs); diff != "" {
			t.Fatal(diff)
		}
		if back.Mask != s.Mask || back.AltBase != s.AltBase || back.AltSize != s.AltSize {
			t.Fatalf("returned %+v", back)
		}
	}
}

// A forged frame restores something harmless or fails; it never panics, and
// never gives privileged flags.
func FuzzPopSignal(f *testing.F) {
	a := New()
	regs := randomRegs(rand.New(rand.NewPCG(3, 4)), a)
	frame, _ := a.PushSignal(&regs, &arch.Signal{No: 1})
	f.Add(frame)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		regs := arch.Regs{}
		regs.GPR[rsp] = 8
		_, err := a.PopSignal(&regs, func(p arch.Addr, b []byte) error {
			if uint64(p) >= uint64(len(frame)) || len(b) > len(frame)-int(p) {
				return errors.New("fault")
			}
			copy(b, frame[p:])
			return nil
		})
		if err != nil {
			return
		}
		if regs.GPR[rflags]&^flagsUser != flagsFixed&^uint64(flagsUser) {
			t.Errorf("flags %#x", regs.GPR[rflags])
		}
		if regs.X != nil && binary.LittleEndian.Uint32(regs.X[xMXCSR:])&^mxcsrMask != 0 {
			t.Errorf("reserved MXCSR bits")
		}
	})
}

// Whatever a stub leaves in its frame and a guest in its memory, the monitor
// reads something, and what it writes back is harmless.
func FuzzFrame(f *testing.F) {
	a := New()
	f.Add(make([]byte, mctxSize), make([]byte, a.XSize()))
	rnd := rand.New(rand.NewPCG(8, 8))
	noise := make([]byte, mctxSize+a.XSize())
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	f.Add(noise[:mctxSize], noise[mctxSize:])
	f.Fuzz(func(t *testing.T, m, xs []byte) {
		mctx, x := make([]byte, a.MContextSize()), make([]byte, a.XSize())
		copy(mctx, m)
		copy(x, xs)
		var r arch.Regs
		a.LoadFrame(mctx, &r)
		a.FrameX(mctx)
		fault := a.FrameFault(mctx)
		if fault.Page && fault.Access != arch.Read && fault.Access != arch.Write && fault.Access != arch.Exec {
			t.Errorf("fault %+v", fault)
		}
		a.Syscall(&r)
		back := make([]byte, len(mctx))
		a.StoreFrame(back, &r)
		le := binary.LittleEndian
		if flags := le.Uint64(back[8*rflags:]); flags&^flagsUser != flagsFixed {
			t.Errorf("flags %#x", flags)
		}
		if sel := le.Uint64(back[offSelectors:]); sel != userCS|userSS<<48 {
			t.Errorf("selectors %#x", sel)
		}

		a.SanitizeX(x)
		if got := le.Uint32(x[xMXCSR:]); got&^mxcsrMask != 0 {
			t.Errorf("MXCSR %#x", got)
		}
		if a.XSize() >= xHeaderEnd {
			if bv := le.Uint64(x[xHeader:]); bv&^a.features != 0 {
				t.Errorf("components %#x, the CPU has %#x", bv, a.features)
			}
			for _, b := range x[xHeader+8 : xHeaderEnd] {
				if b != 0 {
					t.Error("the reserved part of the header is not zero")
					break
				}
			}
		}
		once := bytes.Clone(x)
		if a.SanitizeX(x); !bytes.Equal(once, x) {
			t.Error("sanitizing twice changes the state")
		}
		// What the kernel wrote for itself stays, the rest is the state.
		frame := make([]byte, a.XSize())
		copy(frame[xSwBytes:xLegacyEnd], "the kernel's own")
		own := bytes.Clone(frame[xSwBytes:xLegacyEnd])
		a.StoreX(frame, x)
		if !bytes.Equal(own, frame[xSwBytes:xLegacyEnd]) {
			t.Error("the kernel's bytes have changed")
		}
		got := make([]byte, a.XSize())
		a.LoadX(got, frame)
		copy(got[xSwBytes:xLegacyEnd], x[xSwBytes:xLegacyEnd])
		if !bytes.Equal(got, x) {
			t.Error("the state has changed on the way")
		}
		// A frame for a signal can be built from any registers.
		r.X = x
		regs := r
		pushed, at := a.PushSignal(&regs, &arch.Signal{No: 1, OnStack: len(m)%2 == 0, AltBase: arch.Addr(le.Uint64(mctx)), AltSize: le.Uint64(mctx[8:])})
		if uint64(at)%16 != 8 || len(pushed) < a.XSize()+frameSize || regs.GPR[rsp] != uint64(at) {
			t.Errorf("frame of %d bytes at %#x", len(pushed), at)
		}
	})
}

func TestFrameRoundTrip(t *testing.T) {
	a := New()
	want := randomRegs(rand.New(rand.NewPCG(5, 6)), a)
	want.X = nil
	mctx := make([]byte, a.MContextSize())
	a.StoreFrame(mctx, &want)
	var got arch.Regs
	a.LoadFrame(mctx, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFrameFault(t *testing.T) {
	a := New()
	for _, c := range []struct {
		trap, code uint64
		want       arch.Fault
	}{
		{14, 4, arch.Fault{Page: true, Addr: 0x1000, Access: arch.Read}},
		{14, 6, arch.Fault{Page: true, Addr: 0x1000, Access: arch.Write}},
		{14, 7, arch.Fault{Page: true, Addr: 0x1000, Access: arch.Write, Present: true}},
		{14, 0x15, arch.Fault{Page: true, Addr: 0x1000, Access: arch.Exec, Present: true}},
		{13, 0x102, arch.Fault{}}, // the address is a page fault's before it
		{6, 0, arch.Fault{}},
	} {
		mctx := make([]byte, mctxSize)
		binary.LittleEndian.PutUint64(mctx[offCR2:], 0x1000)
		binary.LittleEndian.PutUint64(mctx[offTrapno:], c.trap)
		binary.LittleEndian.PutUint64(mctx[offErr:], c.code)
		c.want.Trap, c.want.Code = c.trap, c.code
		if diff := cmp.Diff(c.want, a.FrameFault(mctx)); diff != "" {
			t.Error(diff)
		}
	}
}
