// Package trace compares what stub processes do on the host: it reads strace's
// output, takes out what says nothing about the stub, and aligns two traces.
//
// One turn: Parse makes events of a file of strace -ff; Normalize makes lines
// of them; Align pairs the lines of two traces, with the Exceptions that are
// granted; Diff.Write prints the pairs side by side.
//
// Normalisation. Two runs of the same kernel differ, and so do two kernels that
// do the same. What is taken out, and why:
//
//   - What comes before the stub's program is executed belongs to the monitor
//     that forks, not to the stub. The execution itself is kept, by whichever
//     call it was done.
//   - Ticks come when they come. A SIGALRM goes with the report and the return
//     that belong to it; a batch that ran at that chance stays.
//   - Wakes and waits race: the number of tasks woken, a wait that found the
//     word changed already (EAGAIN), and a wait that had to be repeated are
//     all the same wake and the same wait.
//   - Physical memory is handed out by an allocator each. A frame is
//     named by the page that it was first mapped at, and is new again once
//     this stub has no mapping of it left. Whether neighbours are
//     neighbours in physical memory, too, decides what a batch merges, so a
//     mapping of n pages counts as n mappings.
//   - How far an munmap reaches over pages that have no mapping shows when a
//     kernel gives back page tables, which are no stub's business: an munmap
//     counts as one for each page that was mapped.
//   - The layout is each kernel's choice. Addresses are told relative to what
//     they lie in: the stub's pages (CODE, DATA), its program (PROGRAM), the
//     results of the guest's own mmap calls in their order (map 1, map 2,
//     ...), and the stack, by whole pages below the one that it starts in.
//     Addresses of the program itself and those that it fixes stay as they
//     are.
//   - Process ids in a guest, by which UML counts its kernel threads, too, are
//     told in the order of the forks (pid 1, pid 2, ...).
//   - The orders that the stub reads at its start are addresses and offsets.
//   - Descriptor numbers in a message; a signal's sender.
//
// Results of guest system calls are visible as the value that rt_sigreturn
// loads, and stay.
package trace
