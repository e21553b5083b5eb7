// Package amd64 is arch.Arch for 64-bit x86: registers, signal frames, extended
// state, the system call convention, and the machine code of the stub.
//
// One turn of the stub's code (stub.go): the host enters the handler on the
// signal stack; it notes the signal and where siginfo and mcontext lie, hands
// the word to the monitor and waits; when woken it receives the descriptors of
// the batch, runs the batch, closes them, loads fs and gs bases if asked, and
// returns through rt_sigreturn, which loads the registers that the monitor
// wrote into the mcontext.
//
// Known holes, those of UML 7.2, which guard none mirrors on purpose: guest
// code may jump into the stub's page and make any system call that the filter
// allows there.
//
// Verify (verify*.go) proves from the sealed stub's finished bytes that it keeps
// the rules that its guard rests on: it decodes them anew, runs each stretch on
// symbolic values from every place at which it can be entered, and asks the
// filter about every byte that may hide a system call. Its tests turn over every
// bit, drop every instruction and redirect every jump (all of them with
// -exhaustive), and each must be found.
package amd64
