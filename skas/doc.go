// Package skas is the monitor as a library: address spaces whose host side is a
// stub process, and virtual CPUs that run guest tasks on them. It knows nothing
// of what the guest is: no processes, files or system calls.
//
// The program examples/hello shows the whole of it: make physical memory, a
// Monitor, a VCPU and an MM; put frames into the MM's page table; Run a register
// set; look at the Event; change page table and registers; Run again.
//
// One guest page fault, from trap to resume, down one path:
//
//	guest touches a page    host raises SIGSEGV in the stub, handler runs on
//	                        the signal stack (arch/amd64 stub.go)
//	handler reports         word = InKern, futex wake
//	VCPU.Run                wait returns; report copies and checks what the
//	                        stub says; stopped makes an Event of the copy
//	the caller              decides, and sets an entry in MM.Table
//	VCPU.Run again          Table.Sync walks the dirty range into the queue;
//	                        load writes the registers into the frame
//	wake                    descriptors, batch length, word = InChild, wake
//	handler                 runs the batch, rt_sigreturn: the guest goes on
//
// Lock order: MM.turnstile, then the page table's own lock, then the frame
// allocator's. The reaper's locks and MM.procMu are leaves. The turnstile alone
// is held while guest code runs.
//
// What is trusted: nothing in the stub data pages. A report is copied once, the
// copy is checked and used. A report that makes no sense costs the stub its
// life, and the mm's tasks theirs; the monitor goes on.
package skas
