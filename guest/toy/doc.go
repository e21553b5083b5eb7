// Package toy holds the programs of the embedded guest, which "skas boot"
// boots: each shows one thing that a kernel does for its processes, and says
// what it sees. They are assembled here, by package program, so that nothing
// but this binary is needed.
//
// One turn: Programs gives the images by name; they are placed in one
// directory, which is the working directory of process 1, the program Init.
// That forks and executes one program after the other, waits for it, and ends
// with status 0 if all of them found what they expected. Each checks itself:
// one that sees something else says WRONG and ends with status 1.
//
// The programs are plain Linux programs. Run on the host, in such a directory,
// they print the same, except for process numbers and shares of time.
package toy
