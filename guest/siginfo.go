package guest

import (
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// sigInfo is a signal on its way, with what its siginfo_t will say.
type sigInfo struct {
	no     int
	code   int32
	pid    int
	uid    uint32
	status int32 // SIGCHLD, with how much time it has used, in ticks
	utime  uint64
	stime  uint64
	addr   arch.Addr // faults and traps
	value  uint64    // sigqueue, timers
	// timer is the one that has expired, setting what it was set to; timerID and
	// overrun are filled in when the signal is taken.
	timer   *posixTimer
	setting int
	timerID int
	overrun int32
	// raw is the guest's own siginfo (rt_sigqueueinfo), used as it is.
	raw     *[abi.SI_SIZE]byte
	isFault bool // addr counts, also if it is 0
}

// bytes is the siginfo_t.
func (in *sigInfo) bytes() (b [abi.SI_SIZE]byte) {
	if in.raw != nil {
		return *in.raw
	}
	le.PutUint32(b[abi.SI_OFF_SIGNO:], uint32(in.no))
	le.PutUint32(b[abi.SI_OFF_CODE:], uint32(in.code))
	if in.isFault || in.addr != 0 {
		le.PutUint64(b[abi.SI_OFF_ADDR:], uint64(in.addr))
		return b
	}
	if in.timer != nil {
		le.PutUint32(b[abi.SI_OFF_TIMERID:], uint32(in.timerID))
		le.PutUint32(b[abi.SI_OFF_OVERRUN:], uint32(in.overrun))
		le.PutUint64(b[abi.SI_OFF_VALUE:], in.value)
		return b
	}
	le.PutUint32(b[abi.SI_OFF_PID:], uint32(in.pid))
	le.PutUint32(b[abi.SI_OFF_UID:], in.uid)
	if in.no == int(unix.SIGCHLD) && in.code > 0 {
		le.PutUint32(b[abi.SI_OFF_STATUS:], uint32(in.status))
		le.PutUint64(b[abi.SI_OFF_UTIME:], in.utime)
		le.PutUint64(b[abi.SI_OFF_STIME:], in.stime)
	} else {
		le.PutUint64(b[abi.SI_OFF_VALUE:], in.value)
	}
	return b
}

// codeValue is si_code.
func (in *sigInfo) codeValue() int32 {
	if in.raw != nil {
		return int32(le.Uint32(in.raw[abi.SI_OFF_CODE:]))
	}
	return in.code
}

// kernelSignal is one that no process sent.
func kernelSignal(no int) sigInfo { return sigInfo{no: no, code: abi.SI_KERNEL} }

// faultSignal is one that an instruction caused at or about address a.
func faultSignal(no int, code int32, a arch.Addr) sigInfo {
	return sigInfo{no: no, code: code, addr: a, isFault: true}
}

// userSignal is one that t sends with kill.
func (t *Task) userSignal(no int, code int32) sigInfo {
	return sigInfo{no: no, code: code, pid: t.pid}
}
