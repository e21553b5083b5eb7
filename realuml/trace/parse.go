package trace

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Kind says what an event is.
type Kind int

// The kinds of event.
const (
	Call   Kind = iota // a system call that was made
	Signal             // a signal that was delivered
	End                // of the process
)

// Event is one line of a trace.
type Event struct {
	Kind Kind
	// Name is the system call or signal; for an End, how it came.
	Name string
	// Args are a call's arguments, or the fields of a signal's siginfo.
	Args []string
	// Result is what a call returned, as strace prints it: a number, or -1,
	// the name of an error and its text, or ? if it never returned.
	Result string
	// Line is the number of the line in the trace, from 1.
	Line int
}

var (
	callLine    = regexp.MustCompile(`^([a-z_][a-z0-9_]*)\((.*)$`)
	resultPart  = regexp.MustCompile(`^\s+= (.*)$`)
	signalLine  = regexp.MustCompile(`^--- (SIG[A-Z0-9_]+) \{(.*)\} ---$`)
	stoppedLine = regexp.MustCompile(`^--- (stopped by SIG[A-Z]+) ---$`)
	endLine     = regexp.MustCompile(`^\+\+\+ (.*) \+\+\+$`)
)

// unfinished is what strace puts where a call's arguments end for good.
const unfinished = " <unfinished ...>"

// Parse reads the trace of one process, as strace -ff -o writes it.
func Parse(text []byte) ([]Event, error) {
	var events []Event
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " ")
		if line == "" {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("trace line %d: %w", n, err)
		}
		e.Line = n
		events = append(events, e)
	}
	return events, lines.Err()
}

func parseLine(line string) (Event, error) {
	if m := signalLine.FindStringSubmatch(line); m != nil {
		return Event{Kind: Signal, Name: m[1], Args: split(m[2])}, nil
	}
	if m := stoppedLine.FindStringSubmatch(line); m != nil {
		return Event{Kind: Signal, Name: m[1]}, nil
	}
	if m := endLine.FindStringSubmatch(line); m != nil {
		return Event{Kind: End, Name: m[1]}, nil
	}
	m := callLine.FindStringSubmatch(line)
	if m == nil {
		return Event{}, fmt.Errorf("not a line of strace: %q", line)
	}
	args, rest, ok := arguments(m[2])
	e := Event{Kind: Call, Name: m[1], Args: split(strings.TrimSuffix(args, unfinished)), Result: "?"}
	if ok {
		result := resultPart.FindStringSubmatch(rest)
		if result == nil {
			return Event{}, fmt.Errorf("a call without a result: %q", line)
		}
		e.Result = result[1]
	} else if !strings.HasSuffix(args, unfinished) {
		return Event{}, fmt.Errorf("a call without an end: %q", line)
	}
	return e, nil
}

// arguments cuts at the parenthesis that closes a call, if there is one.
func arguments(s string) (args, rest string, ok bool) {
	end := -1
	scan(s, func(i int, c byte, depth int) bool {
		if c == ')' && depth < 0 {
			end = i
		}
		return end < 0
	})
	if end < 0 {
		return s, "", false
	}
	return s[:end], s[end+1:], true
}

// split cuts at commas that are inside nothing.
func split(s string) []string {
	if s == "" {
		return nil
	}
	var parts []string
	start := 0
	scan(s, func(i int, c byte, depth int) bool {
		if c == ',' && depth == 0 {
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
		return true
	})
	return append(parts, strings.TrimSpace(s[start:]))
}

// scan calls f for each byte outside quotes, with the depth of brackets after
// it, until f returns false.
func scan(s string, f func(i int, c byte, depth int) bool) {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '\\':
			i++
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		}
		if !quoted && !f(i, c, depth) {
			return
		}
	}
}

// Field is the value of a name=value argument, "" if there is none.
func (e Event) Field(name string) string {
	for _, a := range e.Args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

// String is the event as strace prints it, but for the spacing.
func (e Event) String() string {
	switch e.Kind {
	case Signal:
		return fmt.Sprintf("--- %s {%s} ---", e.Name, strings.Join(e.Args, ", "))
	case End:
		return "+++ " + e.Name + " +++"
	default:
		return fmt.Sprintf("%s(%s) = %s", e.Name, strings.Join(e.Args, ", "), e.Result)
	}
}
