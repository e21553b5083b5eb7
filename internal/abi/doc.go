// Package abi has the constants and structs of the Linux kernel's interface, in
// the kernel's spelling, that golang.org/x/sys/unix lacks. Each block names its
// header. A leaf: it imports nothing of ours.
//
// A test compares every value with what testdata/abi.c prints when it is
// compiled against the host's kernel headers, so a constant added here needs
// its line there.
package abi
