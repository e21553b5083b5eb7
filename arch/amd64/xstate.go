package amd64

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// The XSAVE area in a signal frame is in the standard, not the compacted,
// layout: 512 bytes of FXSAVE, a 64-byte header, then the components at fixed
// offsets (Intel SDM volume 1, chapter 13.4). The kernel keeps the bytes from
// 464 to 512 for itself (struct _fpx_sw_bytes).
const (
	xFCW       = 0
	xMXCSR     = 24
	xSwBytes   = 464
	xLegacyEnd = 512
	xHeader    = 512
	xHeaderEnd = 576
	// fcwInit and mxcsrInit are the reset values (FNINIT, LDMXCSR).
	fcwInit   = 0x37f
	mxcsrInit = 0x1f80
	// mxcsrMask has the bits that may be set without a fault; all CPUs
	// with AVX have DAZ.
	mxcsrMask = 0xffff
)

// xPermission has the components that a process must ask for before it may use
// them (AMX: ARCH_REQ_XCOMP_PERM, Linux 5.16). Stubs never ask, so signal
// frames have no room for them although the CPU counts them.
const xPermission = 1<<17 | 1<<18

// hostXState gives the components in a signal frame and the size of their
// standard-layout area (CPUID leaf 0xd, XGETBV). A CPU without XSAVE has the
// 512 bytes of FXSAVE.
func hostXState() (size int, features uint64) {
	_, _, ecx, _ := cpuid(1, 0)
	if ecx&(1<<27) == 0 { // OSXSAVE
		return xLegacyEnd, 3
	}
	lo, hi := xgetbv0()
	features = (uint64(hi)<<32 | uint64(lo)) &^ xPermission
	size = xHeaderEnd
	for i := uint32(2); i < 63; i++ {
		if features&(1<<i) != 0 {
			length, offset, _, _ := cpuid(0xd, i)
			size = max(size, int(offset+length))
		}
	}
	return size, features
}

func (a *Arch) XSize() int { return a.xsize }

func (a *Arch) LoadX(dst, frame []byte) { copy(dst[:a.xsize], frame) }

func (a *Arch) StoreX(frame, x []byte) {
	frame = frame[:a.xsize]
	if x == nil {
		clear(frame[:xSwBytes])
		binary.LittleEndian.PutUint16(frame[xFCW:], fcwInit)
		binary.LittleEndian.PutUint32(frame[xMXCSR:], mxcsrInit)
		if a.xsize >= xHeaderEnd {
			clear(frame[xHeader:xHeaderEnd]) // XSTATE_BV 0: every component initial
		}
		return
	}
	copy(frame[:xSwBytes], x)
	if a.xsize > xLegacyEnd {
		copy(frame[xLegacyEnd:], x[xLegacyEnd:])
	}
}

func (a *Arch) SanitizeX(x []byte) {
	mxcsr := binary.LittleEndian.Uint32(x[xMXCSR:])
	binary.LittleEndian.PutUint32(x[xMXCSR:], mxcsr&mxcsrMask)
	if a.xsize < xHeaderEnd {
		return
	}
	bv := binary.LittleEndian.Uint64(x[xHeader:])
	clear(x[xHeader:xHeaderEnd])
	binary.LittleEndian.PutUint64(x[xHeader:], bv&a.features)
}

// HWCap is CPUID.1:EDX, as Linux reports it. HWCap2 stays 0: its FSGSBASE bit
// would invite guests to set their bases behind the monitor's back.
func (*Arch) HWCap() (hwcap, hwcap2 uint64) {
	_, _, _, edx := cpuid(1, 0)
	return uint64(edx) & math.MaxUint32, 0
}

// HasAVX512 is for tests that use those registers.
func HasAVX512() bool { return cpu.X86.HasAVX512F }

// hostFSGSBase asks for HWCAP2_FSGSBASE (asm/hwcap2.h). The instructions alone
// prove nothing: a CPU may run them under a kernel that does not know.
func hostFSGSBase() bool {
	const atHWCap2, hwcap2FSGSBase = 26, 1 << 1
	auxv, err := unix.Auxv()
	if err != nil {
		return false
	}
	for _, e := range auxv {
		if e[0] == atHWCap2 {
			return e[1]&hwcap2FSGSBase != 0
		}
	}
	return false
}
