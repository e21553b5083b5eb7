// Package timer has the two kinds of time in the monitor: a vCPU's tick, which
// preempts guest code HZ times a second, and one-shot timers for sleeping guest
// tasks.
//
// One turn of a tick: the vCPU waits for its stub with Deadline as the futex's
// time limit. If the wait times out, the vCPU asks Expired, forwards SIGALRM to
// the stub and waits for the next. UML has a POSIX timer that signals the
// thread instead; here the wait and the timer are one call, so no tick can fall
// between looking at the word and going to sleep.
//
// Nothing here touches a stub. Clocks are values, so that tests bring their own.
package timer
