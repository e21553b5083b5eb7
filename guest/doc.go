// Package guest is a small UNIX kernel over skas: processes and threads,
// signals, files and virtual memory for unmodified Linux programs, about as readable as xv6.
// Syscalls lists what there is.
//
// One turn through it. A vCPU goroutine (vcpu.go) takes a task from the head
// of the run queue (sched.go), delivers its pending signals
// (signal_deliver.go), drops the kernel lock and lets skas run it until the
// stub reports an event. Under the lock again, a page fault goes to
// (*Space).fault, a tick moves the task to the tail of the queue, and a system
// call goes through the table of table.go to its handler in a sys_*.go file.
// The result is stored in the registers and the turn starts again.
//
// A handler never sleeps. It finds that it would have to wait, calls
// (*Task).block with the queues that can change that, and returns; the task
// leaves the run queue. When a queue, a timer or a signal wakes it, the same
// handler is called again with the same arguments, and with its progress in
// Task.call. An interrupted call ends with EINTR or is called again, as
// sigaction says.
//
// A Task is a thread; what it has in common with the other threads of its
// process is in the Process that it embeds. All threads of an address space, and
// processes that share one, take turns at its one stub: the scheduler does not
// run two of them at a time, so --cpus N helps several processes. Who ends a
// process, or stops it, marks its threads; each ends or stops itself when it
// next comes by (*Kernel).deliverSignals. The last to end makes the process a
// zombie, the last to stop tells the parent.
//
// Files that are woken for: pipes, eventfd, epoll and sockets (guest/vfs), timerfd,
// terminals (vfs/tty*.go has the line discipline, tty.go sessions and job control).
// Whatever changes one wakes its queue, with the events of poll(2) that may be new.
//
// There is one lock, Kernel.mu. It guards everything here and in guest/vfs and
// is released only while guest code runs in a stub and while a vCPU is idle.
// In skas terms it comes before an MM's turnstile.
//
// Nothing that a guest passes is trusted: user memory is reached through
// mm.Table copies alone (uaccess.go), counts are clamped before use, and a
// guest mistake is an errno or a signal, never a Go panic.
//
// What is missing on purpose: networks, swap, users other than root, and futexes
// with priority inheritance.
package guest
