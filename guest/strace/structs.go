package strace

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// words reads n 64-bit words at a.
func (s *state) words(a uint64, n int) ([]uint64, bool) {
	p := s.read(a, 8*n)
	if len(p) < 8*n {
		return nil, false
	}
	w := make([]uint64, n)
	for i := range w {
		w[i] = le.Uint64(p[8*i:])
	}
	return w, true
}

// structure makes a format for n bytes at an address: NULL and unreadable
// memory print as pointers, and so does a result that a failed call left out.
func structure(n int, print func(s *state, p []byte) string) format {
	return func(s *state, i int) string {
		a := s.args[i]
		if a == 0 || s.failed() {
			return pointer(a)
		}
		p := s.read(a, n)
		if len(p) < n {
			return pointer(a)
		}
		return print(s, p)
	}
}

var timespec = structure(16, func(_ *state, p []byte) string {
	return fmt.Sprintf("{tv_sec=%d, tv_nsec=%d}", int64(le.Uint64(p)), int64(le.Uint64(p[8:])))
})

var timeval = structure(16, func(_ *state, p []byte) string {
	return fmt.Sprintf("{tv_sec=%d, tv_usec=%d}", int64(le.Uint64(p)), int64(le.Uint64(p[8:])))
})

var itimerval = structure(32, func(_ *state, p []byte) string {
	return fmt.Sprintf("{it_interval={tv_sec=%d, tv_usec=%d}, it_value={tv_sec=%d, tv_usec=%d}}",
		le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:]))
})

var itimerspec = structure(32, func(_ *state, p []byte) string {
	return fmt.Sprintf("{it_interval={tv_sec=%d, tv_nsec=%d}, it_value={tv_sec=%d, tv_nsec=%d}}",
		le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:]))
})

// utimes is the two timespecs of utimensat.
var utimes = structure(32, func(_ *state, p []byte) string {
	var t [2]string
	for i := range t {
		sec, nsec := int64(le.Uint64(p[16*i:])), int64(le.Uint64(p[16*i+8:]))
		switch nsec {
		case unix.UTIME_NOW:
			t[i] = "UTIME_NOW"
		case unix.UTIME_OMIT:
			t[i] = "UTIME_OMIT"
		default:
			t[i] = fmt.Sprintf("{tv_sec=%d, tv_nsec=%d}", sec, nsec)
		}
	}
	return "[" + t[0] + ", " + t[1] + "]"
})

// stat is struct stat of amd64 (asm/stat.h).
var stat = structure(144, func(_ *state, p []byte) string {
	m := le.Uint32(p[24:])
	what := fmt.Sprintf("st_size=%d", le.Uint64(p[48:]))
	if kind := m & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		dev := le.Uint64(p[40:])
		what = fmt.Sprintf("st_rdev=makedev(%#x, %#x)", unix.Major(dev), unix.Minor(dev))
	}
	return fmt.Sprintf("{st_mode=%s, %s, ...}", fileMode(m), what)
})

// statx is struct statx (linux/stat.h).
var statx = structure(256, func(_ *state, p []byte) string {
	return fmt.Sprintf("{stx_mask=%#x, stx_attributes=%#x, stx_mode=%s, stx_size=%d, ...}",
		le.Uint32(p), le.Uint64(p[8:]), fileMode(uint32(le.Uint16(p[28:]))), le.Uint64(p[40:]))
})

// fileMode is S_IFREG|0644.
func fileMode(m uint32) string {
	kind := valueText(uint64(m&unix.S_IFMT), fileTypes)
	var special []string
	for _, b := range []symbol{{unix.S_ISUID, "S_ISUID"}, {unix.S_ISGID, "S_ISGID"}, {unix.S_ISVTX, "S_ISVTX"}} {
		if uint64(m)&b.v != 0 {
			special = append(special, b.name)
		}
	}
	return strings.Join(append(append([]string{kind}, special...), mode(m&0o777)), "|")
}

var fds = structure(8, func(_ *state, p []byte) string {
	return fmt.Sprintf("[%d, %d]", int32(le.Uint32(p)), int32(le.Uint32(p[4:])))
})

// waitStatus is the second argument of wait4; nothing is there if no child
// was found.
func waitStatus(s *state, i int) string {
	if s.result <= 0 {
		return pointer(s.args[i])
	}
	return structure(4, func(_ *state, p []byte) string { return "[" + statusText(le.Uint32(p)) + "]" })(s, i)
}

func statusText(ws uint32) string {
	switch sig := ws & 0x7f; {
	case ws == 0xffff:
		return "{WIFCONTINUED(s)}"
	case ws&0xff == 0x7f:
		return fmt.Sprintf("{WIFSTOPPED(s) && WSTOPSIG(s) == %s}", SignalName(int(ws>>8&0xff)))
	case sig != 0:
		core := ""
		if ws&0x80 != 0 {
			core = " && WCOREDUMP(s)"
		}
		return fmt.Sprintf("{WIFSIGNALED(s) && WTERMSIG(s) == %s%s}", SignalName(int(sig)), core)
	}
	return fmt.Sprintf("{WIFEXITED(s) && WEXITSTATUS(s) == %d}", ws>>8&0xff)
}

var rusage = structure(144, func(_ *state, p []byte) string {
	return fmt.Sprintf("{ru_utime={tv_sec=%d, tv_usec=%d}, ru_stime={tv_sec=%d, tv_usec=%d}, ...}",
		le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:]))
})

var uname = structure(6*65, func(_ *state, p []byte) string {
	field := func(i int) string {
		f, _, _ := strings.Cut(string(p[65*i:65*(i+1)]), "\x00")
		return quote([]byte(f))
	}
	return fmt.Sprintf("{sysname=%s, nodename=%s, ...}", field(0), field(1))
})

var sysinfo = structure(112, func(_ *state, p []byte) string {
	return fmt.Sprintf("{uptime=%d, loads=[%d, %d, %d], totalram=%d, freeram=%d, ...}",
		le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[24:]), le.Uint64(p[32:]), le.Uint64(p[40:]))
})

// rlimit prints limits; the name of no limit depends on the call.
func rlimit(infinity string) format {
	return structure(16, func(_ *state, p []byte) string {
		limit := func(v uint64) string {
			switch {
			case v == ^uint64(0):
				return infinity
			case v > 1<<10 && v%(1<<10) == 0:
				return fmt.Sprintf("%d*1024", v>>10)
			}
			return fmt.Sprint(v)
		}
		return fmt.Sprintf("{rlim_cur=%s, rlim_max=%s}", limit(le.Uint64(p)), limit(le.Uint64(p[8:])))
	})
}

var winsize = structure(8, func(_ *state, p []byte) string {
	return fmt.Sprintf("{ws_row=%d, ws_col=%d, ws_xpixel=%d, ws_ypixel=%d}",
		le.Uint16(p), le.Uint16(p[2:]), le.Uint16(p[4:]), le.Uint16(p[6:]))
})

var int32At = structure(4, func(_ *state, p []byte) string { return fmt.Sprintf("[%d]", int32(le.Uint32(p))) })

// sigaction is the kernel's struct sigaction.
var sigaction = structure(32, func(_ *state, p []byte) string {
	h := le.Uint64(p)
	handler := fmt.Sprintf("%#x", h)
	switch h {
	case 0:
		handler = "SIG_DFL"
	case 1:
		handler = "SIG_IGN"
	}
	fl := le.Uint64(p[8:])
	text := fmt.Sprintf("{sa_handler=%s, sa_mask=%s, sa_flags=%s", handler,
		sigsetText(le.Uint64(p[24:])), flagText(fl, sigactionFlags, "0"))
	if fl&0x04000000 != 0 { // SA_RESTORER
		text += fmt.Sprintf(", sa_restorer=%#x", le.Uint64(p[16:]))
	}
	return text + "}"
})

var sigset = structure(8, func(_ *state, p []byte) string { return sigsetText(le.Uint64(p)) })

// sigsetText is [INT QUIT], or ~[KILL STOP] if that is shorter.
func sigsetText(m uint64) string {
	invert := ""
	if m == ^uint64(0) {
		return "~[]"
	}
	n := 0
	for i := range 64 {
		n += int(m >> i & 1)
	}
	if n > 32 {
		invert, m = "~", ^m
	}
	var names []string
	for i := range 64 {
		if m>>i&1 != 0 {
			names = append(names, strings.TrimPrefix(SignalName(i+1), "SIG"))
		}
	}
	return invert + "[" + strings.Join(names, " ") + "]"
}

var stack = structure(24, func(_ *state, p []byte) string {
	return fmt.Sprintf("{ss_sp=%s, ss_flags=%s, ss_size=%d}", pointer(le.Uint64(p)),
		flagText(uint64(le.Uint32(p[8:])), altstackFlags, "0"), le.Uint64(p[16:]))
})

// siginfo prints what sigtimedwait and waitid fill in.
var siginfo = structure(128, func(_ *state, p []byte) string {
	no, code := int(le.Uint32(p)), int32(le.Uint32(p[8:]))
	if no == 0 {
		return "{}"
	}
	text := Signal{No: no, Code: code, Pid: int(int32(le.Uint32(p[16:]))), UID: le.Uint32(p[20:]),
		Status: int32(le.Uint32(p[24:]))}.String()
	_, text, _ = strings.Cut(text, "{")
	return "{" + strings.TrimSuffix(text, " ---")
})

// iovec makes a format for an array of buffers, its length the next argument;
// with filled, only as much as the call returned is shown.
func iovec(filled bool) format {
	return func(s *state, i int) string {
		a, n := s.args[i], s.args[i+1]
		left := ^uint64(0)
		if filled {
			if s.failed() {
				return pointer(a)
			}
			left = uint64(s.result)
		}
		var list []string
		for k := range min(n, 1024) {
			w, ok := s.words(a+16*k, 2)
			if !ok {
				return pointer(a)
			}
			if k == maxElems {
				list = append(list, "...")
				break
			}
			show := min(w[1], left)
			left -= show
			list = append(list, fmt.Sprintf("{iov_base=%s, iov_len=%d}", s.buffer(w[0], show), w[1]))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
}

// pollfds is the array of poll, its length the next argument.
func pollfds(s *state, i int) string {
	list, ok := s.eachPollfd(func(fd int32, events, _ uint16) string {
		return fmt.Sprintf("{fd=%d, events=%s}", fd, flagText(uint64(events), pollFlags, "0"))
	})
	if !ok {
		return pointer(s.args[i])
	}
	return list
}

// pollResult is the count, and what was found.
func pollResult(s *state) string {
	if s.result == 0 {
		return "0 (Timeout)"
	}
	list, ok := s.eachPollfd(func(fd int32, _, revents uint16) string {
		if revents == 0 {
			return ""
		}
		return fmt.Sprintf("{fd=%d, revents=%s}", fd, flagText(uint64(revents), pollFlags, "0"))
	})
	if !ok {
		return fmt.Sprint(s.result)
	}
	return fmt.Sprintf("%d (%s)", s.result, list)
}

// eachPollfd joins what show makes of the elements of poll's array.
func (s *state) eachPollfd(show func(fd int32, events, revents uint16) string) (text string, ok bool) {
	var list []string
	for k := range min(s.args[1], maxElems) {
		p := s.read(s.args[0]+8*k, 8)
		if len(p) < 8 {
			return "", false
		}
		if t := show(int32(le.Uint32(p)), le.Uint16(p[4:]), le.Uint16(p[6:])); t != "" {
			list = append(list, t)
		}
	}
	return "[" + strings.Join(list, ", ") + "]", true
}

// fdset is a set of select, its size the first argument.
func fdset(s *state, i int) string {
	a := s.args[i]
	if a == 0 {
		return "NULL"
	}
	n := min(s.args[0], 1024)
	p := s.read(a, int(n+63)/64*8)
	if uint64(len(p))*8 < n {
		return pointer(a)
	}
	var list []string
	for fd := range n {
		if p[fd/8]>>(fd%8)&1 != 0 {
			list = append(list, fmt.Sprint(fd))
		}
	}
	return "[" + strings.Join(list, " ") + "]"
}

// dirents shows how many entries getdents64 found.
func dirents(s *state, i int) string {
	if s.failed() {
		return pointer(s.args[i])
	}
	p := s.read(s.args[i], int(min(s.result, 1<<20)))
	n := 0
	for len(p) >= 19 {
		l := int(le.Uint16(p[16:]))
		if l < 19 || l > len(p) {
			break
		}
		p = p[l:]
		n++
	}
	return fmt.Sprintf("%#x /* %d entries */", s.args[i], n)
}

// int64At is a file offset by reference.
var int64At = structure(8, func(_ *state, p []byte) string { return fmt.Sprintf("[%d]", int64(le.Uint64(p))) })
