// Package stubexe makes stubs: it joins the machine code of an arch.Arch with
// the seccomp filter into an ELF image, keeps that in a sealed memfd, and starts
// processes from it.
//
// One start: the caller has put the code page and the stub's other pages into
// memory that the stub can map. Start makes a socket pair, writes the stub's
// orders into its own end, then forks and executes the image with the other end
// as descriptor 0 and the caller's descriptors from 3 on. The program reads its
// orders, maps its pages over the top of the address space, closes every
// descriptor that it does not need, installs the signal stack, handlers and
// filter, and makes one system call that the filter turns into its first report.
// The template of sealed stubs also unmaps what the exec has left, and keeps guest
// memory and the two descriptors of the stub pages; one of UML's stubs keeps the
// socket. Sealed stubs are copies of the template, which this package only has the
// filter for (templateSites).
//
// A start-up that fails ends with a named exit code (stubabi.Exit).
//
// Filter is the filter of UML's stubs: it looks at the page, not at the
// instruction. That is UML 7.2's known hole, which guard none mirrors on purpose:
// guest code that jumps into the stub's page may map any part of physmem, close
// and receive descriptors, and change its signal mask through rt_sigreturn. The
// calls that a guard wants to see go to a listener instead. SealedFilter allows
// each call at the one instruction that the sealed stub makes it with, and pins
// every argument that is fixed.
package stubexe
