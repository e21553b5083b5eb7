package trace

import (
	"fmt"
	"slices"
	"strings"
)

// Line is one step of a stub in normal form.
type Line struct {
	Text   string
	Source int // the number of the trace's line that it comes from
}

// Normalize brings the traces of one guest's stubs, in the order of their start,
// into normal form. They go together: a stub made by fork has what its parent
// has mapped.
func Normalize(stubs [][]Event) ([][]Line, error) {
	n := &normalizer{}
	var all [][]Line
	for i, events := range stubs {
		lines, err := n.stub(events)
		if err != nil {
			return nil, fmt.Errorf("stub %d: %w", i+1, err)
		}
		all = append(all, lines)
	}
	return all, nil
}

// normalizer holds what lasts from one event to the next.
type normalizer struct {
	layout
	frames
	pids  []uint64 // that forks have returned, in all stubs so far
	lines []Line
	line  int // of the event at hand
}

func (n *normalizer) emit(format string, args ...any) {
	n.lines = append(n.lines, Line{Text: fmt.Sprintf(format, args...), Source: n.line})
}

func (n *normalizer) stub(events []Event) ([]Line, error) {
	start := -1
	for i, e := range events {
		if e.Kind == Call && strings.HasPrefix(e.Name, "exec") && strings.Contains(e.String(), `["uml-userspace"]`) {
			start = i
		}
	}
	if start < 0 {
		return nil, fmt.Errorf("the trace has no execution of a stub's program")
	}
	n.lines, n.line = nil, events[start].Line
	n.frames.reset()
	if err := n.layout.reset(events[start:]); err != nil {
		return nil, err
	}
	n.emit("exec uml-userspace")
	events = withoutTicks(events[start+1:])
	for i, e := range events {
		n.line = e.Line
		if e.Kind == Call && len(e.Args) < arity[e.Name] {
			return nil, fmt.Errorf("line %d: %s with %d arguments", e.Line, e.Name, len(e.Args))
		}
		switch {
		case e.Kind == End:
			n.dropFutex()
			n.emit("%s", e.Name)
		case e.Kind == Signal:
			n.signal(e)
		case i+1 < len(events) && trapped(e, events[i+1]):
			n.trap(e, events[i+1:])
		default:
			if err := n.call(e); err != nil {
				return nil, fmt.Errorf("line %d: %w", e.Line, err)
			}
		}
	}
	return n.lines, nil
}

// arity is how many arguments strace shows of the calls that are looked into.
var arity = map[string]int{
	"mmap": 6, "munmap": 2, "futex": 2, "recvmsg": 1, "read": 1, "seccomp": 1, "wait4": 1, "kill": 1, "tkill": 1,
}

// trapped says that the filter turned a call into the signal behind it.
func trapped(call, next Event) bool {
	return next.Kind == Signal && next.Name == "SIGSYS" && next.Field("si_syscall") == "__NR_"+call.Name
}

// withoutTicks takes out each SIGALRM with its report and its return.
func withoutTicks(events []Event) []Event {
	var kept []Event
	tick := false
	for _, e := range events {
		switch {
		case e.Kind == Signal:
			tick = e.Name == "SIGALRM"
		case tick && e.Kind == Call && e.Name == "futex":
			continue
		case tick && e.Kind == Call && e.Name == "rt_sigreturn":
			tick = false
			continue
		}
		if e.Kind == Signal && tick {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// dropFutex takes back the handshake that the end of the process came upon:
// how far it had come is chance.
func (n *normalizer) dropFutex() {
	for len(n.lines) > 0 && strings.HasPrefix(n.lines[len(n.lines)-1].Text, "futex ") {
		n.lines = n.lines[:len(n.lines)-1]
	}
}

func (n *normalizer) signal(e Event) {
	text := e.Name
	if code := e.Field("si_code"); code != "" {
		text += " " + code
	}
	if at := e.Field("si_addr"); at != "" {
		text += " at " + n.rename(at)
	}
	if nr := e.Field("si_syscall"); nr != "" {
		text += " " + nr + " " + e.Field("si_arch") + " from " + n.rename(e.Field("si_call_addr"))
	}
	n.emit("%s", text)
}

// trap is a system call of the guest's, or the stub's first report; then is what
// follows. What its result names has that name from now on: pages of a mapping
// may be mapped before the result is seen.
func (n *normalizer) trap(e Event, then []Event) {
	var result uint64
	if i := slices.IndexFunc(then, func(e Event) bool { return e.Kind == Call && e.Name == "rt_sigreturn" }); i >= 0 {
		result, _ = number(then[i].Result) // an error's is none
	}
	args := slices.Clone(e.Args)
	switch e.Name {
	case "mmap":
		length, err := number(e.Args[1])
		if err == nil && result >= page && !strings.Contains(e.Args[3], "MAP_FIXED") {
			n.addRegion(result, result+(length+page-1)&^(page-1))
		}
	case "fork", "vfork", "clone", "clone3":
		if result > 0 {
			n.pids = append(n.pids, result)
		}
	case "wait4", "kill", "tkill":
		if pid, err := number(e.Args[0]); err == nil {
			args[0] = n.pid(pid)
		}
	}
	n.emit("trapped %s(%s)", e.Name, n.rename(strings.Join(args, ", ")))
}

// pid is a number that may be a process that the guest has forked.
func (n *normalizer) pid(v uint64) string {
	if i := slices.Index(n.pids, v); i >= 0 {
		return fmt.Sprintf("pid %d", i+1)
	}
	return fmt.Sprint(v)
}

func (n *normalizer) call(e Event) error {
	switch e.Name {
	case "mmap":
		return n.mmap(e)
	case "munmap":
		return n.munmap(e)
	case "futex":
		n.futex(e)
	case "recvmsg":
		n.recvmsg(e)
	case "rt_sigreturn":
		n.sigreturn(e)
	case "read":
		n.emit("read(0, ORDERS, %s) = %s", e.Args[len(e.Args)-1], errno(e.Result))
	case "seccomp":
		length, _, _ := strings.Cut(e.Args[len(e.Args)-1], ",")
		n.emit("seccomp(%s, %s}) = %s", strings.Join(e.Args[:len(e.Args)-1], ", "), length, errno(e.Result))
	default:
		n.emit("%s(%s) = %s", e.Name, n.rename(strings.Join(e.Args, ", ")), n.rename(errno(e.Result)))
	}
	return nil
}

func (n *normalizer) futex(e Event) {
	op := e.Args[1]
	text := fmt.Sprintf("futex %s %s", op, n.rename(e.Args[0]))
	if failed := errno(e.Result); strings.HasPrefix(failed, "-1") && failed != "-1 EAGAIN" && failed != "-1 EINTR" {
		text += " = " + failed
	}
	if op == "FUTEX_WAIT" && n.lines[len(n.lines)-1].Text == text {
		return // repeated
	}
	n.emit("%s", text)
}

func (n *normalizer) recvmsg(e Event) {
	_, fds, found := strings.Cut(e.String(), "cmsg_data=[")
	count := 0
	if found {
		fds, _, _ = strings.Cut(fds, "]")
		count = len(split(fds))
	}
	n.emit("recvmsg(%s) = %s, %d descriptors", e.Args[0], errno(e.Result), count)
}

func (n *normalizer) sigreturn(e Event) {
	value := errno(e.Result)
	if v, err := number(value); err == nil {
		name, ok := n.name(v)
		if !ok {
			name = n.pid(v)
		}
		value = name
	}
	n.emit("rt_sigreturn(%s) = %s", strings.Join(e.Args, ", "), value)
}

// errno is a result without the text of its error.
func errno(result string) string {
	before, _, _ := strings.Cut(result, " (")
	return before
}
