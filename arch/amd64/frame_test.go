package amd64

import (
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
	for range 500 {
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
		{14, 4, arch.Fault{Page: true, Access: arch.Read}},
		{14, 6, arch.Fault{Page: true, Access: arch.Write}},
		{14, 7, arch.Fault{Page: true, Access: arch.Write, Present: true}},
		{14, 0x15, arch.Fault{Page: true, Access: arch.Exec, Present: true}},
		{13, 0, arch.Fault{Access: arch.Read}},
	} {
		mctx := make([]byte, mctxSize)
		binary.LittleEndian.PutUint64(mctx[offCR2:], 0x1000)
		binary.LittleEndian.PutUint64(mctx[offTrapno:], c.trap)
		binary.LittleEndian.PutUint64(mctx[offErr:], c.code)
		c.want.Addr, c.want.Trap, c.want.Code = 0x1000, c.trap, c.code
		if diff := cmp.Diff(c.want, a.FrameFault(mctx)); diff != "" {
			t.Error(diff)
		}
	}
}
