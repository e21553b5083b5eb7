// Package elfimage writes static ELF executables: the stub's, which stubexe
// runs from a memfd, and those of the guest programs that this project
// assembles itself. One turn: name the segments and the entry point, get the
// file. There are no sections, no symbols and no relocations, and the stack is
// never executable.
//
// A leaf: it imports nothing of ours, and what it is given is trusted.
package elfimage
