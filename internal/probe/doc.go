// Package probe finds out what a host can do, by doing it. It is for `skas
// check` and for tests, which skip by it.
//
// One turn: (Feature).Probe runs the feature's test and gives one of three
// answers: nil; an error that is ErrNotSupported and names the first kernel
// with the feature; or another error, which means that the test could not tell.
// Nothing is remembered: a probe costs less than the process that the slowest
// of them start, and a "could not tell" may be gone the next time.
//
// Tests that need a thread or a process of their own make one and end it.
// Nothing that a probe does outlives it.
package probe
