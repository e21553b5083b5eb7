package guest

import (
	"crypto/rand"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// What uname says beside the host name and the machine. The release is that of
// the Linux whose user mode port this kernel plays.
const (
	unameSysname = "Linux"
	unameRelease = "7.2.0-goskas"
	unameVersion = "#1 SMP goskas"
	utsLen       = 65
)

func sysUname(t *Task, a args) (int64, unix.Errno) {
	var b [6 * utsLen]byte
	for i, s := range []string{unameSysname, t.k.hostname, unameRelease, unameVersion, t.k.arch.UnameMachine(), t.k.domain} {
		copy(b[i*utsLen:(i+1)*utsLen-1], s)
	}
	return 0, t.copyOut(a.addr(0), b[:])
}

func sysSethostname(t *Task, a args) (int64, unix.Errno) { return t.setName(a, &t.k.hostname) }

func sysSetdomainname(t *Task, a args) (int64, unix.Errno) { return t.setName(a, &t.k.domain) }

func (t *Task) setName(a args, name *string) (int64, unix.Errno) {
	n := a.int(1)
	if n < 0 || n >= utsLen {
		return 0, unix.EINVAL
	}
	var b [utsLen]byte
	if e := t.copyIn(a.addr(0), b[:n]); e != 0 {
		return 0, e
	}
	*name, _, _ = strings.Cut(string(b[:n]), "\x00")
	return 0, 0
}

func sysSysinfo(t *Task, a args) (int64, unix.Errno) {
	var b [112]byte
	mem := t.k.mem.Stats()
	le.PutUint64(b[0:], uint64(t.k.now()/time.Second))
	le.PutUint64(b[8:], uint64(t.k.runLen+1)<<16) // 1 minute load
	le.PutUint64(b[32:], uint64(mem.Total)*arch.PageSize)
	le.PutUint64(b[40:], uint64(mem.Free)*arch.PageSize)
	le.PutUint16(b[80:], uint16(len(t.k.tasks)))
	le.PutUint32(b[104:], 1) // memory unit
	return 0, t.copyOut(a.addr(0), b[:])
}

func sysGetrandom(t *Task, a args) (int64, unix.Errno) {
	if a.u32(2)&^(unix.GRND_NONBLOCK|unix.GRND_RANDOM|unix.GRND_INSECURE) != 0 {
		return 0, unix.EINVAL
	}
	total := min(a[1], maxIO)
	for done := uint64(0); done < total; {
		chunk := t.k.scratch[:min(total-done, scratchSize)]
		_, _ = rand.Read(chunk) // never fails
		if e := t.copyOut(a.addr(0)+arch.Addr(done), chunk); e != 0 {
			if done > 0 {
				return int64(done), 0
			}
			return 0, e
		}
		done += uint64(len(chunk))
		if done < total && t.deliverable() != 0 {
			return int64(done), 0
		}
	}
	return int64(total), 0
}

func sysArchPrctl(t *Task, a args) (int64, unix.Errno) {
	switch a.int(0) {
	case abi.ARCH_SET_FS, abi.ARCH_SET_GS:
		if a.addr(1) >= t.k.arch.UserTop() {
			return 0, unix.EPERM
		}
		if a.int(0) == abi.ARCH_SET_FS {
			t.regs.FSBase = a[1]
		} else {
			t.regs.GSBase = a[1]
		}
		return 0, 0
	case abi.ARCH_GET_FS:
		return 0, t.storeU64(a.addr(1), t.regs.FSBase)
	case abi.ARCH_GET_GS:
		return 0, t.storeU64(a.addr(1), t.regs.GSBase)
	}
	return 0, unix.EINVAL
}

func sysSetTidAddress(t *Task, a args) (int64, unix.Errno) {
	t.clearTID = a.addr(0)
	return int64(t.tid), 0
}

func sysPrctl(t *Task, a args) (int64, unix.Errno) {
	switch a.int(0) {
	case unix.PR_SET_NAME:
		name, e := t.comm16(a.addr(1))
		if e != 0 {
			return 0, e
		}
		t.comm = name
		return 0, 0
	case unix.PR_GET_NAME:
		var b [16]byte
		copy(b[:15], t.comm)
		return 0, t.copyOut(a.addr(1), b[:])
	case unix.PR_SET_PDEATHSIG:
		if a[1] != 0 && (a[1] > numSignals) {
			return 0, unix.EINVAL
		}
		t.pdeathSig = int(a[1])
		return 0, 0
	case unix.PR_GET_PDEATHSIG:
		return 0, t.storeU32(a.addr(1), uint32(t.pdeathSig))
	case unix.PR_SET_DUMPABLE:
		if a[1] > 1 {
			return 0, unix.EINVAL
		}
		t.dumpable = a[1] == 1
		return 0, 0
	case unix.PR_GET_DUMPABLE:
		if t.dumpable {
			return 1, 0
		}
		return 0, 0
	case unix.PR_SET_NO_NEW_PRIVS:
		if a[1] != 1 {
			return 0, unix.EINVAL
		}
		return 0, 0
	case unix.PR_CAPBSET_READ:
		if a[1] > unix.CAP_LAST_CAP {
			return 0, unix.EINVAL
		}
		return 1, 0
	}
	return 0, unix.EINVAL
}

// comm16 reads a name of up to 15 bytes; a longer one is cut.
func (t *Task) comm16(at arch.Addr) (string, unix.Errno) {
	var b [15]byte
	n, e := t.copyInSome(at, b[:])
	if e != 0 {
		return "", e
	}
	name, _, ended := strings.Cut(string(b[:n]), "\x00")
	if !ended && n < len(b) {
		return "", unix.EFAULT
	}
	return name, 0
}

func sysPrlimit64(t *Task, a args) (int64, unix.Errno) {
	target := t.processOf(a.int(0))
	if target == nil {
		return 0, unix.ESRCH
	}
	which := a.u32(1)
	if which >= uint32(len(t.rlimits)) {
		return 0, unix.EINVAL
	}
	prev := target.rlimits[which]
	if a[2] != 0 {
		var w [2]uint64
		if e := t.loadWords(a.addr(2), w[:]); e != 0 {
			return 0, e
		}
		if e := target.setLimit(which, unix.Rlimit{Cur: w[0], Max: w[1]}); e != 0 {
			return 0, e
		}
	}
	if a[3] != 0 {
		return 0, t.storeWords(a.addr(3), prev.Cur, prev.Max)
	}
	return 0, 0
}

func sysGetrlimit(t *Task, a args) (int64, unix.Errno) {
	return sysPrlimit64(t, args{0, a[0], 0, a[1]})
}

func sysSetrlimit(t *Task, a args) (int64, unix.Errno) {
	if a[1] == 0 {
		return 0, unix.EFAULT
	}
	return sysPrlimit64(t, args{0, a[0], a[1], 0})
}

func (t *Task) setLimit(which uint32, l unix.Rlimit) unix.Errno {
	if l.Cur > l.Max {
		return unix.EINVAL
	}
	if which == unix.RLIMIT_NOFILE {
		if l.Max > maxFiles {
			return unix.EPERM
		}
		t.files.SetLimit(int(l.Cur))
	}
	if which == unix.RLIMIT_STACK && t.space != nil {
		t.space.stackLimit = l.Cur
	}
	t.rlimits[which] = l
	return 0
}

// sysPersonality remembers that nobody wants chance in the layout, of which
// there is none.
func sysPersonality(t *Task, a args) (int64, unix.Errno) {
	const addrNoRandomize = 0x0040000 // linux/personality.h
	old, p := t.persona, a.u32(0)
	switch p {
	case 0, addrNoRandomize:
		t.persona = p
	case ^uint32(0): // only asks
	default:
		return 0, unix.EINVAL
	}
	return int64(old), 0
}

// sysSyslog has no kernel log to read.
func sysSyslog(_ *Task, a args) (int64, unix.Errno) {
	if t := a.int(0); t < 0 || t > 10 {
		return 0, unix.EINVAL
	}
	return 0, 0
}

// sysReboot ends the machine. Every process is root's here, and may.
func sysReboot(t *Task, a args) (int64, unix.Errno) {
	if a.u32(0) != unix.LINUX_REBOOT_MAGIC1 {
		return 0, unix.EINVAL
	}
	switch a.u32(1) {
	case unix.LINUX_REBOOT_MAGIC2, abi.LINUX_REBOOT_MAGIC2A, abi.LINUX_REBOOT_MAGIC2B, abi.LINUX_REBOOT_MAGIC2C:
	default:
		return 0, unix.EINVAL
	}
	switch a.u32(2) {
	case unix.LINUX_REBOOT_CMD_CAD_ON, unix.LINUX_REBOOT_CMD_CAD_OFF:
		return 0, 0 // no keyboard has these three keys
	case unix.LINUX_REBOOT_CMD_HALT, unix.LINUX_REBOOT_CMD_POWER_OFF:
		t.k.traceGone(t)
		t.k.status = 0
		t.k.shutdown()
		return 0, errNeverReturns
	}
	return 0, unix.EINVAL
}

func sysReturnZero(*Task, args) (int64, unix.Errno) { return 0, 0 }

func sysRefuse(*Task, args) (int64, unix.Errno) { return 0, unix.ENOSYS }
