package trace

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

func readEvents(t *testing.T, name string) []Event {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	events, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want Event
	}{
		{"getpid()                                = 7", Event{Name: "getpid", Result: "7"}},
		{`write(1, "a), (b = \"3\\", 6)           = -1 EBADF (Bad file descriptor)`,
			Event{Name: "write", Args: []string{"1", `"a), (b = \"3\\"`, "6"}, Result: "-1 EBADF (Bad file descriptor)"}},
		{"rt_sigaction(SIGFPE, {sa_handler=0x1, sa_mask=[A, B]}, NULL, 8) = 0",
			Event{Name: "rt_sigaction", Args: []string{"SIGFPE", "{sa_handler=0x1, sa_mask=[A, B]}", "NULL", "8"}, Result: "0"}},
		{"futex(0x10, FUTEX_WAIT, 1, NULL)        = ?", Event{Name: "futex", Args: []string{"0x10", "FUTEX_WAIT", "1", "NULL"}, Result: "?"}},
		{"futex(0x10, FUTEX_WAIT, 1, NULL <unfinished ...>) = ?", Event{Name: "futex", Args: []string{"0x10", "FUTEX_WAIT", "1", "NULL"}, Result: "?"}},
		{"futex(0x10, FUTEX_WAIT, 1, NULL <unfinished ...>", Event{Name: "futex", Args: []string{"0x10", "FUTEX_WAIT", "1", "NULL"}, Result: "?"}},
		{"--- SIGSEGV {si_signo=SIGSEGV, si_addr=NULL} ---", Event{Kind: Signal, Name: "SIGSEGV", Args: []string{"si_signo=SIGSEGV", "si_addr=NULL"}}},
		{"--- stopped by SIGSTOP ---", Event{Kind: Signal, Name: "stopped by SIGSTOP"}},
		{"+++ killed by SIGKILL +++", Event{Kind: End, Name: "killed by SIGKILL"}},
	} {
		c.want.Line = 2
		got, err := Parse([]byte("\n" + c.line + "\n"))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if d := cmp.Diff([]Event{c.want}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, d)
		}
	}
	for _, bad := range []string{"hello", "write(1, 2", "write(1)", "--- SIGSEGV"} {
		if got, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/uml-7.2.strace")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		events, err := Parse(text)
		if err != nil {
			return
		}
		_, _ = Normalize([][]Event{events}) // shall not crash
	})
}

// TestNormalizeUML shows in a golden file what is left of a trace of UML 7.2.
func TestNormalizeUML(t *testing.T) {
	stubs, err := Normalize([][]Event{readEvents(t, "testdata/uml-7.2.strace")})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range stubs[0] {
		b.WriteString(l.Text + "\n")
	}
	testkit.Golden(t, "testdata/uml-7.2.golden", b.String())
}

// script is the trace of a stub with some steps of its guest's.
func script(steps ...string) string {
	return strings.Join(append([]string{
		`setsid() = 1`,
		`execve("/proc/self/fd/64", ["uml-userspace"], 0x14d478f02048 /* 0 vars */) = 0`,
		`mmap(0x7fffffffc000, 4096, PROT_READ|PROT_EXEC, MAP_SHARED|MAP_FIXED, 3, 0) = 0x7fffffffc000`,
		`mmap(0x7fffffffd000, 8192, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_FIXED, 3, 0x1000) = 0x7fffffffd000`,
		`munmap(NULL, 140737488338944) = 0`,
	}, steps...), "\n")
}

const (
	wake = `futex(0x7fffffffdf8c, FUTEX_WAKE, 1) = 1`
	wait = `futex(0x7fffffffdf8c, FUTEX_WAIT, 1, NULL) = 0`
)

func mapping(addr, length, offset string) string {
	return "mmap(" + addr + ", " + length + ", PROT_READ, MAP_SHARED|MAP_FIXED, 1, " + offset + ") = " + addr
}

func TestNormalizeTakesOutChance(t *testing.T) {
	const page = "PROT_READ MAP_SHARED|MAP_FIXED fd 1 "
	for _, c := range []struct {
		name  string
		steps []string
		want  []string
	}{
		{"tick", []string{
			"--- SIGALRM {si_signo=SIGALRM, si_code=SI_USER, si_pid=10529, si_uid=0} ---", wake, wait, "rt_sigreturn({mask=[]}) = 5",
			"--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x401000} ---", wake, wait, "rt_sigreturn({mask=[]}) = 5",
		}, []string{
			"SIGSEGV SEGV_MAPERR at 0x401000", "futex FUTEX_WAKE DATA+0xf8c", "futex FUTEX_WAIT DATA+0xf8c", "rt_sigreturn({mask=[]}) = 5",
		}},
		{"races", []string{
			`futex(0x7fffffffdf8c, FUTEX_WAKE, 1) = 0`,
			wait, `futex(0x7fffffffdf8c, FUTEX_WAIT, 1, NULL) = -1 EAGAIN (Resource temporarily unavailable)`,
		}, []string{"futex FUTEX_WAKE DATA+0xf8c", "futex FUTEX_WAIT DATA+0xf8c"}},
		{"a wait that fails is no race", []string{`futex(0x7fffffffdf8c, FUTEX_WAIT, 1, NULL) = -1 EFAULT (Bad address)`},
			[]string{"futex FUTEX_WAIT DATA+0xf8c = -1 EFAULT"}},
		{"killed in the handshake", []string{wake, "+++ killed by SIGKILL +++"}, []string{"killed by SIGKILL"}},
		{"frames", []string{
			mapping("0x10000", "8192", "0x5000"), // two pages
			mapping("0x20000", "4096", "0x6000"), // the second one's frame
			"munmap(0x10000, 1048576) = 0",       // all of them
			mapping("0x30000", "4096", "0x6000"), // seen as new
		}, []string{
			"mmap 0x10000 " + page + "a new frame", "mmap 0x11000 " + page + "a new frame",
			"mmap 0x20000 " + page + "the frame of 0x11000",
			"munmap 0x10000", "munmap 0x11000", "munmap 0x20000",
			"mmap 0x30000 " + page + "a new frame",
		}},
		{"a place that mmap chose", []string{
			"mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x9",
			"--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x401023, si_syscall=__NR_mmap, si_arch=AUDIT_ARCH_X86_64} ---",
			mapping("0x40001000", "4096", "0x5000"),
			"rt_sigreturn({mask=[]}) = 1073741824",
			"--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x40001010} ---",
		}, []string{
			"trapped mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)",
			"SIGSYS SYS_SECCOMP __NR_mmap AUDIT_ARCH_X86_64 from 0x401023",
			"mmap map 1+0x1000 " + page + "a new frame", "rt_sigreturn({mask=[]}) = map 1", "SIGSEGV SEGV_MAPERR at map 1+0x1010",
		}},
		{"stack", []string{mapping("0x7fffffffa000", "4096", "0x5000"), "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x7fffffff9f58} ---"},
			[]string{"mmap stack+0 " + page + "a new frame", "SIGSEGV SEGV_MAPERR at stack-1"}},
		{"processes", []string{
			"fork() = 57",
			"--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x401023, si_syscall=__NR_fork, si_arch=AUDIT_ARCH_X86_64} ---",
			"rt_sigreturn({mask=[]}) = 736",
			"wait4(736, NULL, 0, NULL) = 61",
			"--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_call_addr=0x401033, si_syscall=__NR_wait4, si_arch=AUDIT_ARCH_X86_64} ---",
			"rt_sigreturn({mask=[]}) = -1 ECHILD (No child processes)",
		}, []string{
			"trapped fork()", "SIGSYS SYS_SECCOMP __NR_fork AUDIT_ARCH_X86_64 from 0x401023", "rt_sigreturn({mask=[]}) = pid 1",
			"trapped wait4(pid 1, NULL, 0, NULL)", "SIGSYS SYS_SECCOMP __NR_wait4 AUDIT_ARCH_X86_64 from 0x401033", "rt_sigreturn({mask=[]}) = -1 ECHILD",
		}},
		{"a call that fails", []string{"mmap(0x10000, 4096, PROT_READ, MAP_SHARED|MAP_FIXED, 1, 0) = -1 EPERM (Operation not permitted)"},
			[]string{"mmap 0x10000+4096 PROT_READ MAP_SHARED|MAP_FIXED fd 1 = -1 EPERM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := Parse([]byte(script(c.steps...)))
			if err != nil {
				t.Fatal(err)
			}
			stubs, err := Normalize([][]Event{events})
			if err != nil {
				t.Fatal(err)
			}
			const start = 5 // exec, three stub pages, the first munmap
			var got []string
			for _, l := range stubs[0][start:] {
				got = append(got, l.Text)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestAlignIsLongest checks alignment against the plain table of longest common
// subsequences, and that both sides come out whole.
func TestAlignIsLongest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	side := func() []Line {
		lines := make([]Line, rng.IntN(12))
		for i := range lines {
			lines[i].Text = string(rune('a' + rng.IntN(4)))
		}
		return lines
	}
	for range 3000 {
		left, right := side(), side()
		pairs := Align(left, right, nil)
		var l, r []Line
		equal := 0
		for _, p := range pairs {
			if p.Left != nil {
				l = append(l, *p.Left)
			}
			if p.Right != nil {
				r = append(r, *p.Right)
			}
			if p.Equal() {
				equal++
				if p.Left.Text != p.Right.Text {
					t.Fatalf("%v paired with %v", *p.Left, *p.Right)
				}
			}
		}
		if want := longest(left, right); equal != want {
			t.Fatalf("%v and %v: %d lines paired, could be %d", left, right, equal, want)
		}
		if len(l) != len(left) || len(r) != len(right) || len(left) > 0 && !cmp.Equal(l, left) || len(right) > 0 && !cmp.Equal(r, right) {
			t.Fatalf("%v and %v came out as %v and %v", left, right, l, r)
		}
	}
}

func longest(a, b []Line) int {
	table := make([][]int, len(a)+1)
	table[0] = make([]int, len(b)+1)
	for i := range a {
		table[i+1] = make([]int, len(b)+1)
		for j := range b {
			if a[i].Text == b[j].Text {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	return table[len(a)][len(b)]
}

func TestExceptions(t *testing.T) {
	for _, c := range []struct {
		left, right string
		names       []string
		equal       bool
	}{
		{"mmap map 1 PROT_READ|PROT_WRITE|PROT_EXEC MAP_SHARED fd 1 a new frame", "mmap map 1 PROT_READ|PROT_WRITE MAP_SHARED fd 1 a new frame", []string{"exec"}, true},
		{"mmap map 1 PROT_EXEC MAP_SHARED fd 1 a new frame", "mmap map 1 PROT_NONE MAP_SHARED fd 1 a new frame", []string{"exec"}, true},
		{"mmap map 1 PROT_READ MAP_SHARED fd 1 a new frame", "mmap map 1 PROT_READ|PROT_WRITE MAP_SHARED fd 1 a new frame", nil, false},
		{"mmap CODE PROT_READ|PROT_EXEC MAP_SHARED fd 3 a new frame", "mmap CODE PROT_READ MAP_SHARED fd 3 a new frame", nil, false},
		{"rt_sigreturn({mask=[PIPE]}) = 3", "rt_sigreturn({mask=[]}) = 3", []string{"sigpipe"}, true},
		{"rt_sigreturn({mask=[PIPE]}) = 3", "rt_sigreturn({mask=[]}) = 4", nil, false},
		{"rt_sigreturn({mask=[ALRM]}) = 3", "rt_sigreturn({mask=[]}) = 3", nil, false},
	} {
		pairs := Align([]Line{{Text: c.left}}, []Line{{Text: c.right}}, Granted())
		if pairs[0].Equal() != c.equal || !cmp.Equal(pairs[0].Exceptions, c.names) {
			t.Errorf("%s\n%s: equal %v, by %v", c.left, c.right, pairs[0].Equal(), pairs[0].Exceptions)
		}
	}
	for _, e := range Granted() {
		if e.Why == "" {
			t.Errorf("exception %s does not say why", e.Name)
		}
	}
}

func TestWrite(t *testing.T) {
	line := func(s string) *Line { return &Line{Text: s} }
	var b strings.Builder
	err := Write(&b, []Pair{
		{Left: line("same"), Right: line("same")},
		{Left: line("theirs"), Right: line("ours"), Exceptions: []string{"why"}},
		{Left: line("left")}, {Left: line("only left")}, {Right: line("right")},
		{Left: line("a line that is long"), Right: line("a line that is long")},
		{Right: line("end")},
	}, 10)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"same         same",
		"theirs     ~ ours  (why)",
		"left       | right",
		"only left  <",
		"a line th…   a line that is long",
		"           > end",
		"",
	}, "\n")
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
