// Package program builds the static amd64 Linux programs that this project
// assembles itself: the toy guest's, the benchmark's and those of tests. The
// same image runs in a guest and on the host.
//
// A Program is an assembler for the text, plus data. One turn: New, emit
// instructions and use the helpers, then Build, which places the text in an
// R-X segment, and data and zeroed memory behind it in an RW segment.
// Execution starts with the first instruction emitted, with the kernel's
// initial stack: the argument count at [rsp], the arguments above it.
//
//	p := program.New()
//	p.Loop(asm.R12, 3, func() {
//		p.Print("countdown: ", asm.R12, "\n")
//	})
//	p.Sys(unix.SYS_GETPID)
//	p.Mov(8, p.Word("pid"), asm.RAX)
//	p.Exit(0)
//	elf, err := p.Build()
//
// An argument of Sys, Print and the like is one of
//
//	an int, uintptr or Signal    that number
//	a string                     the address of that text, NUL-terminated
//	                             (in Print: the text itself)
//	a Label or an Addr           the address of a label or a memory operand
//	a register                   its value
//	a memory operand             the 8 bytes there
//
// Helpers keep rbx, rbp, rsp and r12 to r15; all other registers are theirs. A
// call's result is in rax. Labels that begin with a dot belong to this package.
//
// Mistakes are collected, as in asm, and come back from Build.
package program
