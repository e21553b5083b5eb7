package strace

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory reads the traced program's memory.
type Memory interface {
	// ReadMemory fills p from address a as far as memory is readable.
	ReadMemory(a uint64, p []byte) int
}

// Call is one system call under way.
type Call struct {
	Text string // what is to be printed at entry: name, "(", first arguments

	// Args may be changed before Exit, where only the end of the call
	// tells them (rt_sigreturn).
	Args [6]uint64

	def  *def
	next int // first parameter that Text does not have
}

// state is what a parameter is printed from.
type state struct {
	args   [6]uint64
	mem    Memory
	done   bool // at exit: result is valid
	result int64
}

func (s *state) failed() bool { return s.done && isErrno(s.result) }

func isErrno(v int64) bool { return v < 0 && v >= -4095 }

// format prints parameter i; omit is for optional ones that are not there.
type format func(s *state, i int) string

// omit is what a format returns for a parameter that is to be left out.
const omit = "\x00"

// param is one parameter: out ones are printed at exit.
type param struct {
	fmt format
	out bool
}

// def describes a system call.
type def struct {
	name   string
	params []param
	result func(s *state) string // nil: a decimal number
}

// Name is the system call's name.
func Name(nr uint64) string {
	if d := defs[nr]; d != nil {
		return d.name
	}
	return fmt.Sprintf("syscall_%#x", nr)
}

// Enter describes a call at its start.
func Enter(nr uint64, args [6]uint64, mem Memory) *Call {
	c := &Call{def: defs[nr], Args: args}
	if c.def == nil {
		c.def = &def{name: Name(nr), params: in(hex, hex, hex, hex, hex, hex)}
	}
	var b strings.Builder
	b.WriteString(c.def.name + "(")
	s := &state{args: args, mem: mem}
	for c.next < len(c.def.params) {
		// Whether a parameter is there at all is known now.
		if p := c.def.params[c.next]; p.out && p.fmt(s, c.next) != omit {
			if c.next > 0 {
				b.WriteString(", ")
			}
			break
		}
		c.print(&b, s, 0)
	}
	c.Text = b.String()
	return c
}

// Name is the name of the call.
func (c *Call) Name() string { return c.def.name }

// print writes the next parameter; the one numbered first needs no comma.
func (c *Call) print(b *strings.Builder, s *state, first int) {
	i := c.next
	c.next++
	text := c.def.params[i].fmt(s, i)
	if text == omit {
		return
	}
	if i > first {
		b.WriteString(", ")
	}
	b.WriteString(text)
}

// rest writes the parameters that Text does not have, and the parenthesis.
func (c *Call) rest(s *state, width int) *strings.Builder {
	var b strings.Builder
	for first := c.next; c.next < len(c.def.params); {
		c.print(&b, s, first)
	}
	b.WriteByte(')')
	if n := resultColumn - width - b.Len(); n > 0 {
		b.WriteString(strings.Repeat(" ", n))
	}
	b.WriteString(" = ")
	return &b
}

// resultColumn is where strace puts the equals sign.
const resultColumn = 39

// Exit is the rest of the line, the result included. width is how much of the
// line has been printed, for the alignment of the result.
func (c *Call) Exit(result int64, mem Memory, width int) string {
	s := &state{args: c.Args, mem: mem, done: true, result: result}
	b := c.rest(s, width)
	switch {
	case isErrno(result):
		b.WriteString(errnoText(unix.Errno(-result)))
	case c.def.result != nil:
		b.WriteString(c.def.result(s))
	default:
		fmt.Fprintf(b, "%d", result)
	}
	return b.String()
}

// Gone is the rest of the line of a call that never returns.
func (c *Call) Gone(mem Memory, width int) string {
	s := &state{args: c.Args, mem: mem, done: true, result: -int64(unix.EINTR)}
	return c.rest(s, width).String() + "?"
}

// restarts says what becomes of a call that a signal interrupted, by the
// kernel's internal code (linux/errno.h).
var restarts = map[unix.Errno]string{
	512: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
	513: "ERESTARTNOINTR (To be restarted)",
	514: "ERESTARTNOHAND (To be restarted if no handler)",
	516: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}

// Interrupted is the rest of the line of a call that a signal interrupted.
func (c *Call) Interrupted(code unix.Errno, mem Memory, width int) string {
	s := &state{args: c.Args, mem: mem, done: true, result: -int64(unix.EINTR)}
	return c.rest(s, width).String() + "? " + restarts[code]
}

// Execve is the line of the first execve, which nobody called.
func Execve(path string, argv []string, envp uint64, env int) string {
	quoted := make([]string, 0, len(argv))
	for i, a := range argv {
		if i == maxElems {
			quoted = append(quoted, "...")
			break
		}
		text := quote([]byte(a[:min(len(a), maxString)]))
		if len(a) > maxString {
			text += "..."
		}
		quoted = append(quoted, text)
	}
	return fmt.Sprintf("execve(%s, [%s], %s) = 0", quote([]byte(path)), strings.Join(quoted, ", "), envText(envp, env))
}

// errnoText is "-1 ENOENT (No such file or directory)".
func errnoText(e unix.Errno) string {
	text := e.Error()
	if text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	name := unix.ErrnoName(e)
	if name == "" {
		return fmt.Sprintf("-1 (errno %d)", int(e))
	}
	return fmt.Sprintf("-1 %s (%s)", name, text)
}

// Signal describes the delivery of a signal.
type Signal struct {
	No     int
	Code   int32
	Pid    int
	UID    uint32
	Status int32
	Addr   uint64
	Fault  bool
}

func (s Signal) String() string {
	name := SignalName(s.No)
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s {si_signo=%s, si_code=%s", name, name, signalCode(s.No, s.Code))
	switch {
	case s.Fault:
		fmt.Fprintf(&b, ", si_addr=%s", pointer(s.Addr))
	case s.No == int(unix.SIGCHLD) && s.Code > 0:
		fmt.Fprintf(&b, ", si_pid=%d, si_uid=%d, si_status=%s, si_utime=0, si_stime=0",
			s.Pid, s.UID, childStatus(s.Code, s.Status))
	case s.Code <= 0:
		fmt.Fprintf(&b, ", si_pid=%d, si_uid=%d", s.Pid, s.UID)
	}
	b.WriteString("} ---")
	return b.String()
}

// childStatus prints si_status: an exit status or a signal.
func childStatus(code, status int32) string {
	if code == 1 { // CLD_EXITED
		return fmt.Sprint(status)
	}
	return SignalName(int(status))
}

// Exited describes the end of a process with a wait status.
func Exited(status int) string {
	if sig := status & 0x7f; sig != 0 {
		return fmt.Sprintf("+++ killed by %s +++", SignalName(sig))
	}
	return fmt.Sprintf("+++ exited with %d +++", status>>8&0xff)
}

// Stopped describes a stop by a signal.
func Stopped(sig int) string { return fmt.Sprintf("--- stopped by %s ---", SignalName(sig)) }

// SignalName is SIGINT or SIGRT_3.
func SignalName(no int) string {
	if no == 32 {
		return "SIGRTMIN"
	}
	if no > 32 && no <= 64 {
		return fmt.Sprintf("SIGRT_%d", no-32)
	}
	if name := unix.SignalName(unix.Signal(no)); name != "" {
		return name
	}
	return fmt.Sprint(no)
}
