// Package stubexe makes stubs: it joins the machine code of an arch.Arch with
// the seccomp filter into an ELF image, keeps that in a sealed memfd, and starts
// processes from it.
//
// One start: the caller has put the code page and the stub's data pages into
// memory that the stub can map, and made a socket pair. Start writes the
// stub's orders into the caller's end, then forks and executes the image with
// the other end as descriptor 0 and the memory as descriptor 3. The program
// reads its orders, maps its pages over the top of the address space, closes
// every other descriptor, installs handlers and filter, and makes one system
// call that the filter turns into its first report.
//
// A start-up that fails ends with a named exit code (stubabi.Exit).
//
// Known holes, those of UML 7.2, which guard none mirrors on purpose: the
// filter looks at the page, not at the instruction, so guest code that jumps
// into the stub's page may map any part of physmem, close and receive
// descriptors, and change its signal mask through rt_sigreturn.
package stubexe
