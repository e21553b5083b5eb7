// Package bench measures what operations cost in a guest, always beside the
// same program run natively and beside other configurations of the machine.
//
// A Row is one operation with the guest program that repeats it. The program
// takes the number of rounds as its argument, times each round with the CPU's
// time stamp counter, which costs no system call and is the same counter in a
// guest as on the host, and writes one sample a line, in hexadecimal. The same
// ELF image runs everywhere.
//
// A Variant is a way to run programs: Native, or a Machine with a guest
// configuration. One turn: calibrate a Clock, make the variants, and run a
// Plan. For every repeat and row the plan divides the rounds into blocks and
// lets the variants run a block each, in rotating order, so that whatever else
// the host does meets all of them alike. A machine is booted once and keeps its
// memory, as a guest that has been up for a while.
//
// Every repeat gives an exact median, 99th percentile and mean of its sorted
// samples; a result is the median of these over the repeats, with the range
// of the medians. Ratios are formed within a repeat, between medians of the
// same minute, before they are put together.
//
// The yardstick is the row "futex": two host processes on one CPU that hand a
// word to and fro with the futex calls of a stub's handshake. A guest system
// call cannot be had for less than one of its rounds.
package bench
