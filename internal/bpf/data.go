package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Data is what a filter sees of a system call (struct seccomp_data,
// linux/seccomp.h).
type Data struct {
	NR   uint32
	Arch uint32 // AUDIT_ARCH_*
	// IP is the address behind the system call instruction.
	IP   uint64
	Args [6]uint64
}

// dataSize is sizeof(struct seccomp_data).
const dataSize = 64

// Word is the offset of a 32-bit word of Data.
type Word uint32

// Wide is the offset of a 64-bit field of Data.
type Wide uint32

// The fields of Data.
const (
	NR   Word = 0
	Arch Word = 4
	IP   Wide = 8
)

// Arg is system call argument i, counted from 0.
func Arg(i int) Wide {
	if i < 0 || i > 5 {
		panic(fmt.Sprintf("BUG: bpf: a system call has no argument %d", i))
	}
	return Wide(16 + 8*i)
}

// Lo and Hi are the halves of a 64-bit field.
func (w Wide) Lo() Word { return Word(w) }

// Hi is the upper half.
func (w Wide) Hi() Word { return Word(w) + 4 }

func (w Word) String() string {
	half := [2]string{"lo", "hi"}[w>>2&1]
	switch {
	case w == NR:
		return "nr"
	case w == Arch:
		return "arch"
	case w&^4 == Word(IP):
		return "ip." + half
	}
	return fmt.Sprintf("arg%d.%s", (w-16)>>3, half)
}

// word reads the word at an aligned offset below dataSize.
func (d *Data) word(w Word) uint32 {
	var v uint64
	switch i := w >> 3; i {
	case 0:
		v = uint64(d.Arch)<<32 | uint64(d.NR)
	case 1:
		v = d.IP
	default:
		v = d.Args[i-2]
	}
	return uint32(v >> (8 * (w & 4)))
}

// Action is a filter's answer: an action in the upper half, its data in the
// lower.
type Action uint32

// The answers, most restrictive first (linux/seccomp.h).
const (
	KillProcess Action = unix.SECCOMP_RET_KILL_PROCESS
	KillThread  Action = unix.SECCOMP_RET_KILL_THREAD
	Trap        Action = unix.SECCOMP_RET_TRAP
	UserNotif   Action = unix.SECCOMP_RET_USER_NOTIF
	Log         Action = unix.SECCOMP_RET_LOG
	Allow       Action = unix.SECCOMP_RET_ALLOW
)

// Errno makes the call fail with e.
func Errno(e unix.Errno) Action {
	return Action(unix.SECCOMP_RET_ERRNO | uint32(e)&unix.SECCOMP_RET_DATA)
}

func (a Action) String() string {
	name, ok := map[Action]string{
		KillProcess: "KILL_PROCESS", KillThread: "KILL_THREAD", Trap: "TRAP", UserNotif: "USER_NOTIF",
		Log: "LOG", Allow: "ALLOW", unix.SECCOMP_RET_ERRNO: "ERRNO", unix.SECCOMP_RET_TRACE: "TRACE",
	}[a&unix.SECCOMP_RET_ACTION_FULL]
	data := uint32(a & unix.SECCOMP_RET_DATA)
	switch {
	case !ok:
		return fmt.Sprintf("%#x", uint32(a))
	case name == "ERRNO":
		if e := unix.ErrnoName(unix.Errno(data)); e != "" {
			return name + " " + e
		}
		return fmt.Sprintf("%s %d", name, data)
	case data != 0:
		return fmt.Sprintf("%s %d", name, data)
	}
	return name
}
