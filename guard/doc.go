// Package guard answers one question: may this mapping call of a stub run? It
// decides only; it makes no call and knows no stub.
//
// A guard is a value that is chosen once, when a monitor is made; it names what
// it needs of the host (Needs). One turn of the guards that check: the filter stops a stub in its mmap, the monitor takes
// the notification, asks Check with the call and the page table of that mm, and
// answers CONTINUE or EPERM. Guard none asks nobody, and guard sealed needs to
// ask nobody: its filter and its stub code leave the stub no other call than
// those of the live batch.
package guard
