// Package skas is the monitor as a library: address spaces whose host side is a
// stub process, and virtual CPUs that run guest tasks on them. It knows nothing
// of what the guest is: no processes, files or system calls.
//
// The program examples/hello shows the whole of it: make physical memory, a
// Monitor, a VCPU and an MM; put frames into the MM's page table; Run a register
// set; look at the Event; change page table and registers; Run again.
//
// One guest page fault, from trap to resume, down one path. What differs by
// guard is behind two interfaces (link.go): sealed (sealed.go, guard sealed) and
// posted (posted.go, UML's protocol, all other guards). Mode ptrace is behind the
// same two, with the vCPU as the stub's tracer (traced.go, ticker.go).
//
//	guest touches a page    host raises SIGSEGV in the stub; the handler runs
//	                        on the signal stack (arch/amd64 sealed.go, stub.go)
//	handler reports         sealed: that the frame at its fixed place is new
//	                        posted: where on the signal stack siginfo and
//	                        mcontext lie; then word = InKern, futex wake, wait
//	VCPU.Run                wait returns; link.take copies and checks what the
//	                        stub says (sealed: after it has retracted the batch);
//	                        stopped makes an Event of the copy
//	the caller              decides, and sets an entry in MM.Table
//	VCPU.Run again          Table.Sync walks the dirty range into the queue;
//	                        link.resume writes the registers: sealed to the data
//	                        page, posted into the signal frame
//	wake                    link.offer shows the batch, posted after passing its
//	                        descriptors; word = InChild, futex wake; with a
//	                        listener its calls are answered (listener.go)
//	handler                 runs the batch (sealed: checks each call behind it);
//	                        the guest goes on, by iretq or by rt_sigreturn
//
// A new address space needs a stub: posted and traced ones are executed by the
// spawner's thread (reap.go, stubexe), sealed ones are copies of one process that is
// (template.go). Either way the stub reports once before NewMM returns.
//
// A stub may claim to have stopped and go on. Under guard sealed frames that an
// mm has lost are therefore kept until a wake-up has found the stub in its wait,
// which proves that it runs the batch before any guest code; Revoke forces that
// (revoke.go). A stub that does not report a tick is judged by the Stall policy
// (stall.go, watchdog.go), and one that uses the CPU while it must be stopped is
// found by the auditor (audit.go).
//
// Lock order: MM.turnstile, then the page table's own lock, then the frame
// allocator's. Monitor.mu, the reaper's lock, MM.procMu and the counters' lock
// are leaves, but for the watchdog's, which comes before procMu. Under the
// auditor's a turnstile is only tried for. The turnstile alone is held while guest
// code runs.
//
// What is trusted: nothing in the pages that a stub can write. A report is copied
// once, the copy is checked and used. A report that makes no sense costs the stub
// its life, and the mm's tasks theirs; the monitor goes on. ARCHITECTURE.md has
// the argument why that suffices under guard sealed.
package skas
