package strace

import (
	"fmt"

	"golang.org/x/sys/unix"

	"goskas/internal/abi"
)

// ioctls that x/sys/unix does not have (asm-generic/ioctls.h).
const (
	fionread = 0x541b
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
)

var fileTypes = []symbol{
	{unix.S_IFREG, "S_IFREG"}, {unix.S_IFDIR, "S_IFDIR"}, {unix.S_IFLNK, "S_IFLNK"}, {unix.S_IFCHR, "S_IFCHR"},
	{unix.S_IFBLK, "S_IFBLK"}, {unix.S_IFIFO, "S_IFIFO"}, {unix.S_IFSOCK, "S_IFSOCK"},
}

// openBits are the flags of open beside the access mode; those of several bits
// come first.
var openBits = []symbol{
	{unix.O_TMPFILE, "O_TMPFILE"}, {unix.O_SYNC, "O_SYNC"}, {unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"},
	{unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"},
	{unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DSYNC, "O_DSYNC"}, {unix.O_ASYNC, "O_ASYNC"},
	{unix.O_DIRECT, "O_DIRECT"}, {0o100000, "O_LARGEFILE"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOATIME, "O_NOATIME"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"},
	{unix.O_DIRECTORY, "O_DIRECTORY"},
}

func openFlags(s *state, i int) string { return openText(uint64(uint32(s.args[i]))) }

func openText(v uint64) string {
	text := [...]string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[v&unix.O_ACCMODE]
	if rest := v &^ unix.O_ACCMODE; rest != 0 {
		text += "|" + flagText(rest, openBits, "")
	}
	return text
}

// createMode is the mode of open, there only if it creates.
func createMode(flagsAt int) format {
	return func(s *state, i int) string {
		if s.args[flagsAt]&unix.O_CREAT == 0 && s.args[flagsAt]&unix.O_TMPFILE != unix.O_TMPFILE {
			return omit
		}
		return octal(s, i)
	}
}

var (
	protFlags = []symbol{{unix.PROT_READ, "PROT_READ"}, {unix.PROT_WRITE, "PROT_WRITE"}, {unix.PROT_EXEC, "PROT_EXEC"}, {unix.PROT_GROWSDOWN, "PROT_GROWSDOWN"}}
	mmapFlags = []symbol{
		{unix.MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"}, {unix.MAP_SHARED, "MAP_SHARED"}, {unix.MAP_PRIVATE, "MAP_PRIVATE"},
		{unix.MAP_FIXED, "MAP_FIXED"}, {unix.MAP_ANONYMOUS, "MAP_ANONYMOUS"}, {unix.MAP_GROWSDOWN, "MAP_GROWSDOWN"},
		{unix.MAP_DENYWRITE, "MAP_DENYWRITE"}, {unix.MAP_NORESERVE, "MAP_NORESERVE"}, {unix.MAP_LOCKED, "MAP_LOCKED"},
		{unix.MAP_POPULATE, "MAP_POPULATE"}, {unix.MAP_NONBLOCK, "MAP_NONBLOCK"}, {unix.MAP_STACK, "MAP_STACK"},
		{unix.MAP_HUGETLB, "MAP_HUGETLB"}, {unix.MAP_FIXED_NOREPLACE, "MAP_FIXED_NOREPLACE"},
	}
	mremapFlags = []symbol{{unix.MREMAP_MAYMOVE, "MREMAP_MAYMOVE"}, {unix.MREMAP_FIXED, "MREMAP_FIXED"}, {unix.MREMAP_DONTUNMAP, "MREMAP_DONTUNMAP"}}
	msyncFlags  = []symbol{{unix.MS_ASYNC, "MS_ASYNC"}, {unix.MS_INVALIDATE, "MS_INVALIDATE"}, {unix.MS_SYNC, "MS_SYNC"}}
	advices     = []symbol{
		{unix.MADV_NORMAL, "MADV_NORMAL"}, {unix.MADV_RANDOM, "MADV_RANDOM"}, {unix.MADV_SEQUENTIAL, "MADV_SEQUENTIAL"},
		{unix.MADV_WILLNEED, "MADV_WILLNEED"}, {unix.MADV_DONTNEED, "MADV_DONTNEED"}, {unix.MADV_FREE, "MADV_FREE"},
		{unix.MADV_HUGEPAGE, "MADV_HUGEPAGE"}, {unix.MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE"}, {unix.MADV_DONTDUMP, "MADV_DONTDUMP"},
	}
	accessModes = []symbol{{unix.R_OK, "R_OK"}, {unix.W_OK, "W_OK"}, {unix.X_OK, "X_OK"}}
	atFlags     = []symbol{
		{unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"}, {unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_FOLLOW"},
		{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_NO_AUTOMOUNT, "AT_NO_AUTOMOUNT"},
	}
	statxFlags = append([]symbol{
		{unix.AT_STATX_FORCE_SYNC, "AT_STATX_FORCE_SYNC"}, {unix.AT_STATX_DONT_SYNC, "AT_STATX_DONT_SYNC"},
	}, atFlags...)
	faccessFlags = append([]symbol{{unix.AT_EACCESS, "AT_EACCESS"}}, atFlags...)
	statxMasks   = []symbol{
		{unix.STATX_ALL, "STATX_ALL"}, {unix.STATX_BASIC_STATS, "STATX_BASIC_STATS"}, {unix.STATX_TYPE, "STATX_TYPE"},
		{unix.STATX_MODE, "STATX_MODE"}, {unix.STATX_NLINK, "STATX_NLINK"}, {unix.STATX_UID, "STATX_UID"},
		{unix.STATX_GID, "STATX_GID"}, {unix.STATX_ATIME, "STATX_ATIME"}, {unix.STATX_MTIME, "STATX_MTIME"},
		{unix.STATX_CTIME, "STATX_CTIME"}, {unix.STATX_INO, "STATX_INO"}, {unix.STATX_SIZE, "STATX_SIZE"},
		{unix.STATX_BLOCKS, "STATX_BLOCKS"}, {unix.STATX_BTIME, "STATX_BTIME"}, {unix.STATX_MNT_ID, "STATX_MNT_ID"},
	}
	unlinkFlags = []symbol{{unix.AT_REMOVEDIR, "AT_REMOVEDIR"}}
	renameFlags = []symbol{{unix.RENAME_NOREPLACE, "RENAME_NOREPLACE"}, {unix.RENAME_EXCHANGE, "RENAME_EXCHANGE"}}
	whences     = []symbol{{0, "SEEK_SET"}, {1, "SEEK_CUR"}, {2, "SEEK_END"}, {unix.SEEK_DATA, "SEEK_DATA"}, {unix.SEEK_HOLE, "SEEK_HOLE"}}
	lockOps     = []symbol{{unix.LOCK_SH, "LOCK_SH"}, {unix.LOCK_EX, "LOCK_EX"}, {unix.LOCK_NB, "LOCK_NB"}, {unix.LOCK_UN, "LOCK_UN"}}
	pollFlags   = []symbol{
		{unix.POLLIN, "POLLIN"}, {unix.POLLPRI, "POLLPRI"}, {unix.POLLOUT, "POLLOUT"}, {unix.POLLERR, "POLLERR"},
		{unix.POLLHUP, "POLLHUP"}, {unix.POLLNVAL, "POLLNVAL"}, {0x40, "POLLRDNORM"},
		{0x80, "POLLRDBAND"}, {0x100, "POLLWRNORM"}, {0x200, "POLLWRBAND"},
	}
	waitOptions = []symbol{
		{unix.WNOHANG, "WNOHANG"}, {unix.WSTOPPED, "WSTOPPED"}, {unix.WEXITED, "WEXITED"},
		{unix.WCONTINUED, "WCONTINUED"}, {unix.WNOWAIT, "WNOWAIT"}, {0x40000000, "__WALL"}, {0x80000000, "__WCLONE"},
	}
	idTypes    = []symbol{{unix.P_ALL, "P_ALL"}, {unix.P_PID, "P_PID"}, {unix.P_PGID, "P_PGID"}, {unix.P_PIDFD, "P_PIDFD"}}
	cloneFlags = []symbol{
		{unix.CLONE_VM, "CLONE_VM"}, {unix.CLONE_FS, "CLONE_FS"}, {unix.CLONE_FILES, "CLONE_FILES"},
		{unix.CLONE_SIGHAND, "CLONE_SIGHAND"}, {unix.CLONE_PIDFD, "CLONE_PIDFD"}, {unix.CLONE_VFORK, "CLONE_VFORK"},
		{unix.CLONE_PARENT, "CLONE_PARENT"}, {unix.CLONE_THREAD, "CLONE_THREAD"}, {unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"},
		{unix.CLONE_SETTLS, "CLONE_SETTLS"}, {unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"},
		{unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"}, {unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
	}
	sigactionFlags = []symbol{
		{0x04000000, "SA_RESTORER"}, {0x1, "SA_NOCLDSTOP"}, {0x2, "SA_NOCLDWAIT"}, {0x4, "SA_SIGINFO"},
		{0x08000000, "SA_ONSTACK"}, {0x10000000, "SA_RESTART"}, {0x40000000, "SA_NODEFER"}, {0x80000000, "SA_RESETHAND"},
	}
	altstackFlags = []symbol{{1, "SS_ONSTACK"}, {2, "SS_DISABLE"}, {1 << 31, "SS_AUTODISARM"}}
	sigHows       = []symbol{{unix.SIG_BLOCK, "SIG_BLOCK"}, {unix.SIG_UNBLOCK, "SIG_UNBLOCK"}, {unix.SIG_SETMASK, "SIG_SETMASK"}}
	clocks        = []symbol{
		{unix.CLOCK_REALTIME, "CLOCK_REALTIME"}, {unix.CLOCK_MONOTONIC, "CLOCK_MONOTONIC"},
		{unix.CLOCK_PROCESS_CPUTIME_ID, "CLOCK_PROCESS_CPUTIME_ID"}, {unix.CLOCK_THREAD_CPUTIME_ID, "CLOCK_THREAD_CPUTIME_ID"},
		{unix.CLOCK_MONOTONIC_RAW, "CLOCK_MONOTONIC_RAW"}, {unix.CLOCK_REALTIME_COARSE, "CLOCK_REALTIME_COARSE"},
		{unix.CLOCK_MONOTONIC_COARSE, "CLOCK_MONOTONIC_COARSE"}, {unix.CLOCK_BOOTTIME, "CLOCK_BOOTTIME"}, {unix.CLOCK_TAI, "CLOCK_TAI"},
	}
	sleepFlags = []symbol{{1, "TIMER_ABSTIME"}}
	epollOps   = []symbol{{unix.EPOLL_CTL_ADD, "EPOLL_CTL_ADD"}, {unix.EPOLL_CTL_DEL, "EPOLL_CTL_DEL"}, {unix.EPOLL_CTL_MOD, "EPOLL_CTL_MOD"}}
	itimers    = []symbol{{0, "ITIMER_REAL"}, {1, "ITIMER_VIRTUAL"}, {2, "ITIMER_PROF"}}
	rusageWho  = []symbol{{unix.RUSAGE_SELF, "RUSAGE_SELF"}, {0xffffffff, "RUSAGE_CHILDREN"}, {unix.RUSAGE_THREAD, "RUSAGE_THREAD"}}
	resources  = []symbol{
		{unix.RLIMIT_CPU, "RLIMIT_CPU"}, {unix.RLIMIT_FSIZE, "RLIMIT_FSIZE"}, {unix.RLIMIT_DATA, "RLIMIT_DATA"},
		{unix.RLIMIT_STACK, "RLIMIT_STACK"}, {unix.RLIMIT_CORE, "RLIMIT_CORE"}, {unix.RLIMIT_RSS, "RLIMIT_RSS"},
		{unix.RLIMIT_NPROC, "RLIMIT_NPROC"}, {unix.RLIMIT_NOFILE, "RLIMIT_NOFILE"}, {unix.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
		{unix.RLIMIT_AS, "RLIMIT_AS"}, {unix.RLIMIT_LOCKS, "RLIMIT_LOCKS"}, {unix.RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
		{unix.RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"}, {unix.RLIMIT_NICE, "RLIMIT_NICE"}, {unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
	}
	randomFlags = []symbol{{unix.GRND_NONBLOCK, "GRND_NONBLOCK"}, {unix.GRND_RANDOM, "GRND_RANDOM"}, {unix.GRND_INSECURE, "GRND_INSECURE"}}
	archCodes   = []symbol{{0x1001, "ARCH_SET_GS"}, {0x1002, "ARCH_SET_FS"}, {0x1003, "ARCH_GET_FS"}, {0x1004, "ARCH_GET_GS"}}
	prctls      = []symbol{
		{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"}, {unix.PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG"},
		{unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE"}, {unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
		{unix.PR_SET_NAME, "PR_SET_NAME"}, {unix.PR_GET_NAME, "PR_GET_NAME"},
		{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"}, {unix.PR_CAPBSET_READ, "PR_CAPBSET_READ"}, {unix.PR_SET_VMA, "PR_SET_VMA"},
	}
	fcntls = []symbol{
		{unix.F_DUPFD, "F_DUPFD"}, {unix.F_GETFD, "F_GETFD"}, {unix.F_SETFD, "F_SETFD"}, {unix.F_GETFL, "F_GETFL"},
		{unix.F_SETFL, "F_SETFL"}, {unix.F_GETLK, "F_GETLK"}, {unix.F_SETLK, "F_SETLK"}, {unix.F_SETLKW, "F_SETLKW"},
		{unix.F_SETOWN, "F_SETOWN"}, {unix.F_GETOWN, "F_GETOWN"}, {unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
		{unix.F_GETPIPE_SZ, "F_GETPIPE_SZ"}, {unix.F_SETPIPE_SZ, "F_SETPIPE_SZ"},
	}
	rebootMagics = []symbol{
		{unix.LINUX_REBOOT_MAGIC1, "LINUX_REBOOT_MAGIC1"}, {unix.LINUX_REBOOT_MAGIC2, "LINUX_REBOOT_MAGIC2"},
		{abi.LINUX_REBOOT_MAGIC2A, "LINUX_REBOOT_MAGIC2A"}, {abi.LINUX_REBOOT_MAGIC2B, "LINUX_REBOOT_MAGIC2B"},
		{abi.LINUX_REBOOT_MAGIC2C, "LINUX_REBOOT_MAGIC2C"},
	}
	rebootCmds = []symbol{
		{unix.LINUX_REBOOT_CMD_RESTART, "LINUX_REBOOT_CMD_RESTART"}, {unix.LINUX_REBOOT_CMD_HALT, "LINUX_REBOOT_CMD_HALT"},
		{unix.LINUX_REBOOT_CMD_CAD_ON, "LINUX_REBOOT_CMD_CAD_ON"}, {unix.LINUX_REBOOT_CMD_CAD_OFF, "LINUX_REBOOT_CMD_CAD_OFF"},
		{unix.LINUX_REBOOT_CMD_POWER_OFF, "LINUX_REBOOT_CMD_POWER_OFF"}, {unix.LINUX_REBOOT_CMD_RESTART2, "LINUX_REBOOT_CMD_RESTART2"},
	}
	ioctls = []symbol{
		{unix.TCGETS, "TCGETS"}, {unix.TCSETS, "TCSETS"}, {unix.TCSETSW, "TCSETSW"}, {unix.TCSETSF, "TCSETSF"},
		{unix.TIOCGWINSZ, "TIOCGWINSZ"}, {unix.TIOCSWINSZ, "TIOCSWINSZ"}, {unix.TIOCGPGRP, "TIOCGPGRP"},
		{unix.TIOCSPGRP, "TIOCSPGRP"}, {unix.TIOCGSID, "TIOCGSID"}, {unix.TIOCSCTTY, "TIOCSCTTY"}, {unix.TIOCNOTTY, "TIOCNOTTY"},
		{fionread, "FIONREAD"}, {fionbio, "FIONBIO"}, {fioclex, "FIOCLEX"}, {fionclex, "FIONCLEX"},
		{unix.TCSBRK, "TCSBRK"}, {unix.TCFLSH, "TCFLSH"}, {unix.TCXONC, "TCXONC"},
	}
	futexCmds = []symbol{
		{0, "FUTEX_WAIT"}, {1, "FUTEX_WAKE"}, {3, "FUTEX_REQUEUE"}, {4, "FUTEX_CMP_REQUEUE"}, {5, "FUTEX_WAKE_OP"},
		{9, "FUTEX_WAIT_BITSET"}, {10, "FUTEX_WAKE_BITSET"},
	}
	fadvices = []symbol{
		{unix.FADV_NORMAL, "POSIX_FADV_NORMAL"}, {unix.FADV_RANDOM, "POSIX_FADV_RANDOM"}, {unix.FADV_SEQUENTIAL, "POSIX_FADV_SEQUENTIAL"},
		{unix.FADV_WILLNEED, "POSIX_FADV_WILLNEED"}, {unix.FADV_DONTNEED, "POSIX_FADV_DONTNEED"}, {unix.FADV_NOREUSE, "POSIX_FADV_NOREUSE"},
	}
)

func futexOp(s *state, i int) string {
	op := uint64(uint32(s.args[i]))
	text := valueText(op&^384, futexCmds)
	if op&128 != 0 {
		text += "_PRIVATE"
	}
	if op&256 != 0 {
		text += "|FUTEX_CLOCK_REALTIME"
	}
	return text
}

func signal(s *state, i int) string { return SignalName(int(int32(s.args[i]))) }

// cloneFlagText prints the flags of clone with the exit signal in the low byte.
func cloneFlagText(s *state, i int) string {
	v := s.args[i]
	text := flagText(v&^0xff, cloneFlags, "")
	if sig := int(v & 0xff); sig != 0 {
		if text != "" {
			text += "|"
		}
		text += SignalName(sig)
	}
	return text
}

// fcntlArg is the third argument of fcntl, by command.
func fcntlArg(s *state, i int) string {
	switch int(int32(s.args[1])) {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETPIPE_SZ:
		return omit
	case unix.F_SETFD:
		return flagText(s.args[i], []symbol{{unix.FD_CLOEXEC, "FD_CLOEXEC"}}, "0")
	case unix.F_SETFL:
		return openText(s.args[i])
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW:
		return pointer(s.args[i])
	}
	return dec(s, i)
}

// fcntlResult is the result of fcntl, by command.
func fcntlResult(s *state) string {
	switch v := uint64(s.result); int(int32(s.args[1])) {
	case unix.F_GETFD:
		if v == unix.FD_CLOEXEC {
			return "0x1 (flags FD_CLOEXEC)"
		}
	case unix.F_GETFL:
		return fmt.Sprintf("%#x (flags %s)", v, openText(v))
	}
	return fmt.Sprint(s.result)
}

// ioctlArg is the third argument of ioctl, by command.
func ioctlArg(s *state, i int) string {
	switch uint32(s.args[1]) {
	case unix.TIOCGWINSZ, unix.TIOCSWINSZ:
		return winsize(s, i)
	case fionread, unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGSID, fionbio:
		return int32At(s, i)
	case fioclex, fionclex, unix.TIOCNOTTY:
		return omit
	}
	return hex(s, i)
}

func hexResult(s *state) string   { return hexText(uint64(s.result)) }
func octalResult(s *state) string { return mode(uint32(s.result)) }

// selectResult is a count of descriptors.
func selectResult(s *state) string {
	if s.result == 0 {
		return "0 (Timeout)"
	}
	return fmt.Sprint(s.result)
}

// signalCode is the name of si_code (asm-generic/siginfo.h).
func signalCode(no int, code int32) string {
	switch code {
	case 0:
		return "SI_USER"
	case 0x80:
		return "SI_KERNEL"
	case -1:
		return "SI_QUEUE"
	case -2:
		return "SI_TIMER"
	case -6:
		return "SI_TKILL"
	}
	if names := signalCodes[unix.Signal(no)]; code > 0 && int(code) <= len(names) {
		return names[code-1]
	}
	return fmt.Sprint(code)
}

var signalCodes = map[unix.Signal][]string{
	unix.SIGCHLD: {"CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"},
	unix.SIGSEGV: {"SEGV_MAPERR", "SEGV_ACCERR"},
	unix.SIGBUS:  {"BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR"},
	unix.SIGFPE: {"FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES",
		"FPE_FLTINV", "FPE_FLTSUB"},
	unix.SIGILL: {"ILL_ILLOPN", "ILL_ILLOPC", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG",
		"ILL_COPROC", "ILL_BADSTK"},
	unix.SIGTRAP: {"TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"},
}
