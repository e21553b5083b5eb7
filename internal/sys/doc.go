// Package sys wraps the few host system calls that golang.org/x/sys/unix does
// not, or not in a form that can be used between a wake and a dispatch: the
// shared futex, descriptor passing without allocation, memfds and CPU affinity.
// Each function says what it does about EINTR. Besides the views of physmem and
// stubabi this is the only place with unsafe.
package sys
