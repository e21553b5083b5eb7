package guest

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/guest/strace"
)

// tracer writes Config.Strace. A line grows while its task is in a system
// call, and is cut with "<unfinished ...>" when another task has something to
// say, as strace -f does.
type tracer struct {
	out    io.Writer
	prefix bool  // there has been more than one task
	open   *Task // whose line has no end yet
}

// tracedCall is the part of a task's state that belongs to the trace.
type tracedCall struct {
	call  *strace.Call
	width int  // printed of the line so far
	cut   bool // the line was cut, and goes on with "resumed"
}

// ReadMemory implements strace.Memory.
func (t *Task) ReadMemory(a uint64, p []byte) int {
	if t.space == nil {
		return 0
	}
	n, _ := t.space.table().CopyIn(p, arch.Addr(a))
	return n
}

// write puts text out as the start of a line of t and returns its length.
func (tr *tracer) write(t *Task, text string) int {
	if tr.open != nil {
		tr.open.trace.cut = true
		_, _ = io.WriteString(tr.out, " <unfinished ...>\n")
		tr.open = nil
	}
	if tr.prefix {
		text = fmt.Sprintf("[pid %5d] %s", t.tid, text)
	}
	_, _ = io.WriteString(tr.out, text)
	return len(text)
}

// line puts a whole line out.
func (tr *tracer) line(t *Task, text string) { tr.write(t, text+"\n") }

// end finishes the line of t's call with what rest says for its width.
func (tr *tracer) end(t *Task, rest func(width int) string) {
	c := t.trace
	t.trace = tracedCall{}
	if tr.open == t && !c.cut {
		tr.open = nil
		_, _ = io.WriteString(tr.out, rest(c.width)+"\n")
		return
	}
	w := tr.write(t, fmt.Sprintf("<... %s resumed>", c.call.Name()))
	_, _ = io.WriteString(tr.out, rest(w)+"\n")
}

func (k *Kernel) traceEnter(t *Task) {
	tr := k.tracer
	if tr == nil {
		return
	}
	c := strace.Enter(t.call.nr, t.call.args, t)
	t.trace = tracedCall{call: c, width: tr.write(t, c.Text)}
	tr.open = t
}

// traceExit prints the result of t's call.
func (k *Kernel) traceExit(t *Task, result int64) {
	if c := t.trace.call; k.tracer != nil && c != nil {
		k.tracer.end(t, func(w int) string { return c.Exit(result, t, w) })
	}
}

// traceInterrupted says that a handler runs before t's call ends or starts
// again.
func (k *Kernel) traceInterrupted(t *Task, code unix.Errno) {
	if c := t.trace.call; k.tracer != nil && c != nil {
		k.tracer.end(t, func(w int) string { return c.Interrupted(code, t, w) })
	}
}

// traceReturn prints the end of rt_sigreturn.
func (k *Kernel) traceReturn(t *Task, mask uint64, result int64) {
	if c := t.trace.call; k.tracer != nil && c != nil {
		c.Args[0] = mask
		k.traceExit(t, result)
	}
}

// traceGone ends the line of a call that does not return.
func (k *Kernel) traceGone(t *Task) {
	if c := t.trace.call; k.tracer != nil && c != nil {
		k.tracer.end(t, func(w int) string { return c.Gone(t, w) })
	}
}

// traceBoot prints the execve of process 1.
func (k *Kernel) traceBoot(t *Task, path string, argv, env []string) {
	if k.tracer != nil {
		// Above the stack pointer: argc, the arguments, a null.
		envp := uint64(k.arch.SP(&t.regs)) + 8*uint64(len(argv)+2)
		k.tracer.line(t, strace.Execve(path, argv, envp, len(env)))
	}
}

func (k *Kernel) traceSignal(t *Task, in *sigInfo) {
	if k.tracer != nil {
		k.tracer.line(t, strace.Signal{
			No: in.no, Code: in.code, Pid: in.pid, UID: in.uid, Status: in.status,
			Addr: uint64(in.addr), Fault: in.isFault,
		}.String())
	}
}

// traceChild notes that there are several tasks from now on.
func (k *Kernel) traceChild(t, child *Task) {
	if tr := k.tracer; tr != nil && !tr.prefix {
		tr.line(t, fmt.Sprintf("strace: Process %d attached", child.tid))
		tr.prefix = true
	}
}

// traceExited prints the end of t.
func (k *Kernel) traceExited(t *Task, status int) {
	if k.tracer == nil {
		return
	}
	k.traceGone(t)
	k.tracer.line(t, strace.Exited(status))
}

// traceEnd closes the last line.
func (k *Kernel) traceEnd() {
	if tr := k.tracer; tr != nil {
		if tr.open != nil {
			_, _ = io.WriteString(tr.out, " <unfinished ...>\n")
		}
		tr.open, tr.prefix = nil, false
	}
}
