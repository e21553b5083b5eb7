package abi

import "structs"

// SeccompData is struct seccomp_data, what a filter and a listener see of a
// system call (linux/seccomp.h).
type SeccompData struct {
	_                  structs.HostLayout
	NR                 int32
	Arch               uint32
	InstructionPointer uint64
	Args               [6]uint64
}

// SeccompNotif is struct seccomp_notif, what SECCOMP_IOCTL_NOTIF_RECV fills in
// (linux/seccomp.h). Writer: the kernel; it must be zero before.
type SeccompNotif struct {
	_     structs.HostLayout
	ID    uint64
	PID   uint32 // in the listener's pid namespace, 0 if not visible there
	Flags uint32
	Data  SeccompData
}

// SeccompNotifResp is struct seccomp_notif_resp, the answer for
// SECCOMP_IOCTL_NOTIF_SEND (linux/seccomp.h).
type SeccompNotifResp struct {
	_     structs.HostLayout
	ID    uint64
	Val   int64 // the call's result, if Error is 0
	Error int32 // a negated errno
	Flags uint32
}
