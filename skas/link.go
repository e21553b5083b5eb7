package skas

import (
	"goskas/arch"
	"goskas/stubexe"
	"goskas/stubexe/stubabi"
	"goskas/syscallq"

	"golang.org/x/sys/unix"
)

// protocol is what the stubs of a monitor have in common: the code that they
// run, the filter that holds them and the layout of the pages that they share
// with the monitor. There are two, chosen by the guard: posted (UML's) and
// sealed.
type protocol interface {
	// layout is where the stub's pages lie; end is the end of guest space.
	layout() arch.StubLayout
	end() arch.Addr
	limits() syscallq.Limits
	image() *stubexe.Image
	// open takes the pages for one more stub.
	open() (link, stubexe.Orders, error)
	close() error
}

// link is the monitor's side of one stub: its pages, and what goes with a wake.
// It belongs to whoever holds the mm's turnstile.
type link interface {
	// word is the handshake word.
	word() *stubabi.Word
	// offer shows the batch to the stub, which waits and is about to be
	// woken. With alone the stub reports again behind the batch; otherwise
	// it returns to the guest.
	offer(x *MM, alone bool) error
	// take copies what the stub says, each byte once, and checks it. The
	// error says what makes no sense.
	take(r *report) error
	// resume writes the registers that the stub will return to the guest
	// with.
	resume(r *arch.Regs)
	// extended is where the extended state of the task that ran last lies,
	// and where that of the next one has to be.
	extended() []byte
	// first is called when the stub has reported for the first time.
	first(x *MM) error
	// close gives the pages back, once the stub is gone.
	close()
}

// report is a checked copy of what a stub said when it stopped.
type report struct {
	signal unix.Signal
	// at and err are the stub's words on a batch that failed; 0, 0 if it
	// says that none did.
	at  int32
	err int64
	// same is set for a tick that came before any guest code ran: the
	// task's registers are those that it was resumed with.
	same bool
	// ran is set for the end of a batch that was run alone.
	ran bool
	// bases is set if fs and gs hold the task's bases.
	bases  bool
	fs, gs uint64

	mctx []byte // of the arch's size
	info [siginfoSize]byte
}

// Sizes and offsets of siginfo_t (asm-generic/siginfo.h) on 64-bit hosts, and
// the code of a SIGSYS that seccomp raised.
const (
	siginfoSize  = 128
	offSICode    = 8
	offSIAddr    = 16
	offSISysArch = 28
	sysSeccomp   = 1
)
