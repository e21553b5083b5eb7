package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
)

// sigInfo is a signal on its way, with what its siginfo_t will say.
type sigInfo struct {
	no     int
	code   int32
	pid    int
	uid    uint32
	status int32     // SIGCHLD
	addr   arch.Addr // faults and traps
	value  uint64    // sigqueue, timers
	// raw is the guest's own siginfo (rt_sigqueueinfo), used as it is.
	raw *[sigInfoSize]byte
	// fault goes into the signal frame's context.
	fault   arch.Fault
	isFault bool
}

// Codes of siginfo_t (asm-generic/siginfo.h) that x/sys/unix does not have.
const (
	siUser  = 0
	siQueue = -1
	siTKill = -6

	cldExited    = 1
	cldKilled    = 2
	cldDumped    = 3
	cldStopped   = 5
	cldContinued = 6
)

const sigInfoSize = 128

// Offsets in siginfo_t of 64-bit Linux: three ints and a pad, then the union.
const (
	siNo     = 0
	siErrno  = 4
	siCode   = 8
	siPid    = 16
	siUid    = 20
	siAddr   = 16
	siStatus = 24
	siValue  = 24
)

// bytes is the siginfo_t.
func (in *sigInfo) bytes() (b [sigInfoSize]byte) {
	if in.raw != nil {
		return *in.raw
	}
	le.PutUint32(b[siNo:], uint32(in.no))
	le.PutUint32(b[siCode:], uint32(in.code))
	if in.isFault || in.addr != 0 {
		le.PutUint64(b[siAddr:], uint64(in.addr))
		return b
	}
	le.PutUint32(b[siPid:], uint32(in.pid))
	le.PutUint32(b[siUid:], in.uid)
	if in.no == int(unix.SIGCHLD) && in.code > 0 {
		le.PutUint32(b[siStatus:], uint32(in.status))
	} else {
		le.PutUint64(b[siValue:], in.value)
	}
	return b
}

// kernelSignal is one that no process sent.
func kernelSignal(no int) sigInfo { return sigInfo{no: no, code: siKernel} }

// faultSignal is one that an instruction caused at or about address a.
func faultSignal(no int, code int32, a arch.Addr) sigInfo {
	return sigInfo{no: no, code: code, addr: a, isFault: true}
}

// userSignal is one that t sends with kill.
func (t *Task) userSignal(no int, code int32) sigInfo {
	return sigInfo{no: no, code: code, pid: t.pid}
}
