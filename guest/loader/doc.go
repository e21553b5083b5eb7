// Package loader reads executables: it checks the headers of an ELF file and
// says what has to be mapped where. It maps nothing itself.
//
// One turn: execve opens a file and calls Parse; an Image comes back, whose
// segments lie in order, within the file, within guest space and apart from each
// other, or an *Error that says in one line what is wrong.
//
// The file is untrusted: the work is bounded by a small number of headers, and
// any content gives an image or an error, never a panic (FuzzParse).
package loader
