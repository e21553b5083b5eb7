// Package amd64 is arch.Arch for 64-bit x86: registers, signal frames, extended
// state, the system call convention, and the machine code of the stubs, with the
// proof that the sealed one keeps its rules.
//
// There are two stubs, each with its start-up program. Both are entered by the
// host on the signal stack, hand the word to the monitor and wait.
//
// UML's (stub.go, program.go): the handler notes the signal and where siginfo
// and mcontext lie; when woken it receives the descriptors of the batch, runs
// the batch, closes them, loads fs and gs bases if asked, and returns through
// rt_sigreturn, which loads the registers that the monitor wrote into the
// mcontext. Its holes are those of UML 7.2, which guard none mirrors on purpose:
// guest code may jump into the page and make any system call that the filter
// allows there.
//
// The sealed one (sealed.go, sealed_program.go): the handler first looks whether
// the code that the signal has stopped was the guest's; when woken it runs the
// batch and holds each call against it, right behind the call; it loads bases,
// extended state and registers itself and returns by iretq. Nothing masks
// signals there: a tick that comes meanwhile leaves a note and the code goes on
// where it was.
//
// Verify (verify*.go) proves from the sealed stub's finished bytes that it keeps
// the rules that its guard rests on: it decodes them anew, runs each stretch on
// symbolic values from every place at which it can be entered, and asks the
// filter about every byte that may hide a system call. Its tests turn over every
// bit, drop every instruction and redirect every jump (all of them with
// -exhaustive), and each must be found.
package amd64
