package skas

import (
	"encoding/binary"

	"goskas/arch"
	"goskas/syscallq"

	"golang.org/x/sys/unix"
)

// protocol is what the stubs of a monitor have in common: the code that they
// run, the filter that holds them and the layout of the pages that they share
// with the monitor. There are three: posted
// (UML's seccomp mode), sealed, by the guard, and tracing (UML's ptrace mode).
type protocol interface {
	// layout is where the stub's pages lie; end is the end of guest space.
	layout() arch.StubLayout
	end() arch.Addr
	limits() syscallq.Limits
	// open takes the pages for one more stub; launch starts its process.
	open(m *Monitor) (l link, launch launch, err error)
	// attend prepares for the ticks of a vCPU, on its thread, and detach
	// undoes that.
	attend(v *VCPU) (detach func())
	close() error
}

// launch starts the process of x's stub: it sets x.proc, and x.cpu if it knows.
type launch func(x *MM) error

// link is the monitor's side of one stub: its pages, and how the two take turns.
// It belongs to whoever holds the mm's turnstile.
type link interface {
	handshake
	// take copies what the stub says, each byte once, and checks it. The
	// error says what makes no sense.
	take(r *report) error
	// resume writes the registers that the stub will return to the guest
	// with.
	resume(r *arch.Regs)
	// registers reads the task's registers out of the report that was taken
	// last.
	registers(r *report, regs *arch.Regs)
	// loadX copies the extended state of the task that ran last, and storeX
	// gives the stub that of the next one (nil: the initial state). Both
	// take XSize bytes.
	loadX(x []byte)
	storeX(x []byte)
	// first is called when the stub has reported for the first time.
	first(x *MM) error
	// close gives the pages back, once the stub is gone.
	close()
}

// handshake is how the monitor and a stub take turns: by a futex word (byWord),
// or with the monitor as the stub's tracer.
type handshake interface {
	// start waits for the first report of a new stub, and checks it.
	start(x *MM) error
	// enter and leave stand around everything that a thread does with the
	// stub: v's thread, or any other if v is nil. An error says that the stub
	// is dead; there is nothing to leave then.
	enter(x *MM, v *VCPU) error
	leave(v *VCPU)
	// lend ends what v's thread has kept to itself between its turns.
	lend(v *VCPU)
	// wake hands the batch and the CPU to the stub, which goes on to guest
	// code; wait sleeps until it reports or dies. Both do what v's ticks ask
	// for meanwhile; v may be nil for a wait.
	wake(x *MM, v *VCPU) error
	wait(x *MM, v *VCPU) error
	// batch has the stub run the batch and report again, without any guest
	// code, and takes the report.
	batch(x *MM) error
	// died ends the wait for a stub that is no more.
	died()
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

// call makes r the report of a system call: what the filter's SIGSYS would say.
func (r *report) call(auditArch uint32) {
	r.signal = unix.SIGSYS
	binary.LittleEndian.PutUint32(r.info[offSICode:], sysSeccomp)
	binary.LittleEndian.PutUint32(r.info[offSISysArch:], auditArch)
}

// code is si_code: above 0, the kernel or the CPU has raised the signal.
func (r *report) code() int32 { return int32(binary.LittleEndian.Uint32(r.info[offSICode:])) }

// fault says that r is a page fault, or another that memory access brings about.
func (r *report) fault() bool { return r.signal == unix.SIGSEGV && r.code() > 0 }
