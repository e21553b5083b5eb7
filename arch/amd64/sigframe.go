package amd64

import (
	"encoding/binary"
	"fmt"

	"goskas/arch"
)

// A guest's signal frame is the one that Linux builds (struct rt_sigframe in
// arch/x86/include/asm/sigframe.h): return address, ucontext, siginfo, and the
// extended state above them, 64-byte aligned, with its magic numbers.
const (
	frameRet   = 0
	frameUC    = 8
	ucFlags    = frameUC
	ucStackSP  = frameUC + 16
	ucStackFl  = frameUC + 24
	ucStackSz  = frameUC + 32
	ucMCtx     = frameUC + 40
	ucMask     = ucMCtx + mctxSize
	frameInfo  = ucMask + 8
	frameSize  = frameInfo + 128
	redZone    = 128
	xMagic1    = 0x46505853 // FP_XSTATE_MAGIC1
	xMagic2    = 0x46505845 // FP_XSTATE_MAGIC2
	ucXState   = 1          // UC_FP_XSTATE
	ucSigSS    = 2          // UC_SIGCONTEXT_SS
	ucStrictSS = 4          // UC_STRICT_RESTORE_SS
)

func (a *Arch) PushSignal(r *arch.Regs, s *arch.Signal) (frame []byte, at arch.Addr) {
	top := arch.Addr(r.GPR[rsp]) - redZone
	if s.OnStack {
		top = s.AltBase + arch.Addr(s.AltSize)
	}
	x := (top - arch.Addr(a.xsize+4)) &^ 63
	// On entry the stack is as after a call: 8 off a multiple of 16.
	at = (x-frameSize)&^15 - 8

	frame = make([]byte, int(x-at)+a.xsize+4)
	le := binary.LittleEndian
	le.PutUint64(frame[frameRet:], uint64(s.Restorer))
	le.PutUint64(frame[ucFlags:], ucXState|ucSigSS|ucStrictSS)
	le.PutUint64(frame[ucStackSP:], uint64(s.AltBase))
	le.PutUint32(frame[ucStackFl:], s.AltFlags)
	le.PutUint64(frame[ucStackSz:], s.AltSize)
	mctx := frame[ucMCtx : ucMCtx+mctxSize]
	for i := range numGPR {
		le.PutUint64(mctx[8*i:], r.GPR[i])
	}
	le.PutUint64(mctx[offSelectors:], codeSegment(r)|userSS<<48)
	le.PutUint64(mctx[offErr:], s.Fault.Code)
	le.PutUint64(mctx[offTrapno:], s.Fault.Trap)
	le.PutUint64(mctx[offCR2:], uint64(s.Fault.Addr))
	le.PutUint64(mctx[offOldmask:], s.Mask)
	le.PutUint64(mctx[offFPState:], uint64(x))
	le.PutUint64(frame[ucMask:], s.Mask)
	copy(frame[frameInfo:], s.Info[:])

	area := frame[x-at:]
	a.StoreX(area, r.X)
	if a.xsize >= xHeaderEnd {
		le.PutUint32(area[xSwBytes:], xMagic1)
		le.PutUint32(area[xSwBytes+4:], uint32(a.xsize+4))
		le.PutUint64(area[xSwBytes+8:], a.features)
		le.PutUint32(area[xSwBytes+16:], uint32(a.xsize))
		le.PutUint32(area[a.xsize:], xMagic2)
	}

	r.GPR[rsp] = uint64(at)
	r.GPR[rip] = uint64(s.Handler)
	r.CS = 0
	r.GPR[rdi] = uint64(s.No)
	r.GPR[rsi] = uint64(at + frameInfo)
	r.GPR[rdx] = uint64(at + frameUC)
	r.GPR[rax] = 0
	r.GPR[rflags] &^= 1<<10 | 1<<8 | 1<<16 // DF, TF, RF, as Linux does
	return frame, at
}

func (a *Arch) PopSignal(r *arch.Regs, read func(arch.Addr, []byte) error) (arch.SignalReturn, error) {
	// The handler's ret took the return address off.
	at := arch.Addr(r.GPR[rsp]) - frameUC
	var frame [frameInfo]byte
	if err := read(at, frame[:]); err != nil {
		return arch.SignalReturn{}, fmt.Errorf("read signal frame: %w", err)
	}
	le := binary.LittleEndian
	mctx := frame[ucMCtx : ucMCtx+mctxSize]
	next := *r
	a.LoadFrame(mctx, &next)
	next.GPR[rflags] = next.GPR[rflags]&flagsUser | flagsFixed

	if x := a.FrameX(mctx); x == 0 {
		next.X = nil
	} else {
		area := make([]byte, a.xsize)
		if err := read(x, area); err != nil {
			return arch.SignalReturn{}, fmt.Errorf("read extended state: %w", err)
		}
		if a.xsize >= xHeaderEnd && le.Uint32(area[xSwBytes:]) != xMagic1 {
			clear(area[xLegacyEnd:])
			le.PutUint64(area[xHeader:], 3) // x87 and SSE only
		}
		a.SanitizeX(area)
		next.X = area
	}
	*r = next
	return arch.SignalReturn{
		Mask:     le.Uint64(frame[ucMask:]),
		AltBase:  arch.Addr(le.Uint64(frame[ucStackSP:])),
		AltSize:  le.Uint64(frame[ucStackSz:]),
		AltFlags: le.Uint32(frame[ucStackFl:]),
	}, nil
}
