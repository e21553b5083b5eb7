// Package realuml gets a real User Mode Linux and boots it, to compare ours
// with. It is for tests and for skas diff; no guest of ours needs it.
//
// One comparison: Fetch finds, downloads and unpacks Debian's user-mode-linux
// and the shared libraries that it needs into a private directory, once. Boot
// makes a host directory with a program in it, boots the kernel on that
// (rootfstype=hostfs), waits for its end and returns what the program printed,
// how it ended and, on request, what each stub process did on the host, as
// strace saw it. Ours does the same with skas run. Package trace reads,
// normalises and aligns what they give.
//
// Two ways to run a program: with Config.Init set it is process 1 itself, which
// leaves the fewest other things in its trace; otherwise a small init of ours
// runs it as a child and keeps its output apart from the kernel's messages. A
// Guest, on the other hand, stays up and is told on its console what to run, for
// measurements that take turns.
//
// Nothing is installed and no system file is changed: apt runs with a
// configuration, package lists and a cache of its own, made from the sources
// that the system is configured with.
package realuml
