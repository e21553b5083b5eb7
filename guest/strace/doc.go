// Package strace prints Linux system calls the way strace(1) does.
//
// It is pure: it gets the number, the six arguments, something to read the
// caller's memory with and, later, the result. A call is printed in two parts,
// because what an argument points to may be gone afterwards (execve) or not
// there before (read):
//
//	c := strace.Enter(nr, args, mem) // openat(AT_FDCWD, "/etc/passwd", O_RDONLY
//	rest := c.Exit(result, mem)      // ) = 3
//
// The first part, Call.Text, ends before the first parameter that the call
// itself fills in. Which parameters those are, and how each is printed, is in
// table.go; the values of flags are in flags.go, the structures in structs.go.
// Strings are cut at 32 bytes, file names are not, and symbols not in the
// tables come out as numbers. Memory that cannot be read prints as its address,
// so nothing that a traced program passes makes the printing fail.
package strace
