// Package sys wraps the few host system calls that golang.org/x/sys/unix does
// not, or not in a form that can be used between a wake and a dispatch, where
// nothing may be allocated: the shared futex, descriptor passing, the listener of
// a seccomp filter, memfds, CPU affinity, what there is to know of a child without
// asking it (its end, its CPU time, whether it sleeps or is stopped), and files
// that are executed as soon as they are written.
// Each function says what it does about EINTR. Besides the views of physmem and
// stubabi this is the only place with unsafe.
package sys
