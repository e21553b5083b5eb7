package strace_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"goskas/guest/strace"
)

// memory is a guest's memory from base on; everything else is unreadable.
type memory []byte

const base = 0x10000

func (m memory) ReadMemory(a uint64, p []byte) int {
	if a < base || a >= base+uint64(len(m)) {
		return 0
	}
	return copy(p, m[a-base:])
}

// put appends v and returns where it lies.
func (m *memory) put(v any) uint64 {
	for len(*m)%8 != 0 {
		*m = append(*m, 0)
	}
	at := base + uint64(len(*m))
	switch v := v.(type) {
	case string:
		*m = append(append(*m, v...), 0)
	case []byte:
		*m = append(*m, v...)
	case []uint64:
		for _, w := range v {
			*m = binary.LittleEndian.AppendUint64(*m, w)
		}
	}
	return at
}

func TestCalls(t *testing.T) {
	var m memory
	fault := uint64(0xdead0000)
	path := m.put("/etc/pass\"wd\n")
	long := m.put("0123456789012345678901234567890123456789")
	binaryData := m.put([]byte{0, 1, '7', 0xff, '\\', 0x1b, '[', 'm'})
	stat := make([]byte, 144)
	binary.LittleEndian.PutUint32(stat[24:], unix.S_IFREG|0o644)
	binary.LittleEndian.PutUint64(stat[48:], 1221)
	statAt := m.put(stat)
	argv := m.put([]uint64{m.put("ls"), m.put("-l"), 0})
	env := m.put([]uint64{path, 0})
	pair := m.put([]uint64{3 | 4<<32})
	ts := m.put([]uint64{1, 500})
	act := m.put([]uint64{1, 0x14000000, 0x416390, ^uint64(3 << 31)})
	mask := m.put([]uint64{1<<1 | 1<<9})
	iov := m.put([]uint64{long, 5, path, 4})
	pfd := m.put([]byte{0, 0, 0, 0, 1, 0, 0x11, 0, 1, 0, 0, 0, 4, 0, 0, 0})
	status := m.put([]uint64{0x0300})
	limits := m.put([]uint64{8 << 20, ^uint64(0)})
	set := m.put([]uint64{1<<0 | 1<<5})

	enoent := -int64(unix.ENOENT)
	cases := []struct {
		nr     uint64
		args   [6]uint64
		result int64
		want   string
	}{
		{unix.SYS_READ, [6]uint64{0, long, 100}, 5, `read(0, "01234", 100)                   = 5`},
		{unix.SYS_READ, [6]uint64{0, long, 100}, 40, `read(0, "01234567890123456789012345678901"..., 100) = 40`},
		{unix.SYS_READ, [6]uint64{9, long, 100}, -int64(unix.EBADF), `read(9, 0x10010, 100)                   = -1 EBADF (Bad file descriptor)`},
		{unix.SYS_WRITE, [6]uint64{1, binaryData, 8}, 8, `write(1, "\0\0017\377\\\33[m", 8)       = 8`},
		{unix.SYS_WRITE, [6]uint64{1, fault, 8}, -int64(unix.EFAULT), `write(1, 0xdead0000, 8)                 = -1 EFAULT (Bad address)`},
		{unix.SYS_OPENAT, [6]uint64{^uint64(99), path, unix.O_RDONLY | unix.O_CLOEXEC, 7}, enoent,
			`openat(AT_FDCWD, "/etc/pass\"wd\n", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)`},
		{unix.SYS_OPEN, [6]uint64{path, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, 0o644}, 3,
			`open("/etc/pass\"wd\n", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 3`},
		{unix.SYS_NEWFSTATAT, [6]uint64{3, path, statAt, 0x1000}, 0,
			`newfstatat(3, "/etc/pass\"wd\n", {st_mode=S_IFREG|0644, st_size=1221, ...}, AT_EMPTY_PATH) = 0`},
		{unix.SYS_EXECVE, [6]uint64{path, argv, env}, 0, `execve("/etc/pass\"wd\n", ["ls", "-l"], 0x10100 /* 1 var */) = 0`},
		{unix.SYS_PIPE2, [6]uint64{pair, unix.O_CLOEXEC}, 0, `pipe2([3, 4], O_CLOEXEC)                = 0`},
		{unix.SYS_NANOSLEEP, [6]uint64{ts, ts}, 0, `nanosleep({tv_sec=1, tv_nsec=500}, 0x10118) = 0`},
		{unix.SYS_NANOSLEEP, [6]uint64{ts, ts}, -int64(unix.EINTR),
			`nanosleep({tv_sec=1, tv_nsec=500}, {tv_sec=1, tv_nsec=500}) = -1 EINTR (Interrupted system call)`},
		{unix.SYS_RT_SIGACTION, [6]uint64{17, act, 0, 8}, 0,
			`rt_sigaction(SIGCHLD, {sa_handler=SIG_IGN, sa_mask=~[RTMIN RT_1], sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x416390}, NULL, 8) = 0`},
		{unix.SYS_RT_SIGPROCMASK, [6]uint64{0, mask, 0, 8}, 0, `rt_sigprocmask(SIG_BLOCK, [INT USR1], NULL, 8) = 0`},
		{unix.SYS_WRITEV, [6]uint64{1, iov, 2}, 9,
			`writev(1, [{iov_base="01234", iov_len=5}, {iov_base="/etc", iov_len=4}], 2) = 9`},
		{unix.SYS_READV, [6]uint64{1, iov, 2}, 7,
			`readv(1, [{iov_base="01234", iov_len=5}, {iov_base="/e", iov_len=4}], 2) = 7`},
		{unix.SYS_POLL, [6]uint64{pfd, 2, ^uint64(0)}, 1,
			`poll([{fd=0, events=POLLIN}, {fd=1, events=POLLOUT}], 2, -1) = 1 ([{fd=0, revents=POLLIN|POLLHUP}])`},
		{unix.SYS_WAIT4, [6]uint64{^uint64(0), status, 0, 0}, 12, `wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 12`},
		{unix.SYS_PRLIMIT64, [6]uint64{0, 3, 0, limits}, 0,
			`prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0`},
		{unix.SYS_SELECT, [6]uint64{6, set, 0, 0, 0}, 1, `select(6, [0 5], NULL, NULL, NULL)      = 1`},
		{unix.SYS_MMAP, [6]uint64{0, 4096, 3, 0x22, ^uint64(0), 0}, 0x7ffff7ffd000,
			`mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7ffff7ffd000`},
		{unix.SYS_CLONE, [6]uint64{unix.CLONE_CHILD_CLEARTID | unix.CLONE_CHILD_SETTID | 17, 0, 0, 0x5ec690}, 3,
			`clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x5ec690) = 3`},
		{unix.SYS_FCNTL, [6]uint64{1, unix.F_GETFL}, 0x8001, `fcntl(1, F_GETFL)                       = 0x8001 (flags O_WRONLY|O_LARGEFILE)`},
		{unix.SYS_FCNTL, [6]uint64{1, unix.F_SETFD, 1}, 0, `fcntl(1, F_SETFD, FD_CLOEXEC)           = 0`},
		{unix.SYS_IOCTL, [6]uint64{0, unix.TIOCGWINSZ, 0x1000}, -int64(unix.ENOTTY),
			`ioctl(0, TIOCGWINSZ, 0x1000)            = -1 ENOTTY (Inappropriate ioctl for device)`},
		{unix.SYS_IOCTL, [6]uint64{0, 0x5451}, 0, `ioctl(0, FIOCLEX)                       = 0`},
		{unix.SYS_GETRANDOM, [6]uint64{binaryData, 3, unix.GRND_NONBLOCK}, 3, `getrandom("\x00\x01\x37", 3, GRND_NONBLOCK) = 3`},
		{unix.SYS_UMASK, [6]uint64{0o22}, 0, `umask(022)                              = 000`},
		{unix.SYS_GETPID, [6]uint64{}, 1, `getpid()                                = 1`},
		{9999, [6]uint64{1}, -int64(unix.ENOSYS), `syscall_0x270f(0x1, 0, 0, 0, 0, 0)      = -1 ENOSYS (Function not implemented)`},
	}
	for _, c := range cases {
		call := strace.Enter(c.nr, c.args, m)
		got := call.Text + call.Exit(c.result, m, len(call.Text))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEvents(t *testing.T) {
	cases := []struct{ got, want string }{
		{strace.Exited(0), "+++ exited with 0 +++"},
		{strace.Exited(0x0300), "+++ exited with 3 +++"},
		{strace.Exited(9), "+++ killed by SIGKILL +++"},
		{strace.Signal{No: 17, Code: 1, Pid: 5, Status: 3}.String(),
			"--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=5, si_uid=0, si_status=3, si_utime=0, si_stime=0} ---"},
		{strace.Signal{No: 17, Code: 2, Pid: 5, Status: 15}.String(),
			"--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=0, si_status=SIGTERM, si_utime=0, si_stime=0} ---"},
		{strace.Signal{No: 11, Code: 1, Addr: 0x10, Fault: true}.String(),
			"--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---"},
		{strace.Signal{No: 15, Pid: 2}.String(), "--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=2, si_uid=0} ---"},
		{strace.Signal{No: 2, Code: 0x80}.String(), "--- SIGINT {si_signo=SIGINT, si_code=SI_KERNEL} ---"},
		{strace.SignalName(34), "SIGRT_2"},
		{strace.Execve("/bin/sh", []string{"sh", "-c"}, 0x7000, 2), `execve("/bin/sh", ["sh", "-c"], 0x7000 /* 2 vars */) = 0`},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

// FuzzCall gives arbitrary arguments over a small memory: printing must not
// fail or run away.
func FuzzCall(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint64(base), uint64(1)<<63, int64(1)<<40, []byte("text"))
	f.Add(uint64(unix.SYS_SELECT), ^uint64(0), uint64(base), uint64(base), int64(3), make([]byte, 300))
	f.Fuzz(func(t *testing.T, nr, a, b, c uint64, result int64, mem []byte) {
		m := memory(mem)
		call := strace.Enter(nr%512, [6]uint64{a, b, c, a, b, c}, m)
		text := call.Text + call.Exit(result, m, len(call.Text))
		if len(text) > 1<<17 {
			t.Fatalf("%d bytes of text", len(text))
		}
	})
}
