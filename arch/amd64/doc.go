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
package amd64
