package containment

import (
	"time"

	"goskas/arch"
	"goskas/guard"
	"goskas/skas"
)

// Verdict is what the witnesses say of one case under one guard.
type Verdict string

// The verdicts.
const (
	Breached Verdict = "breached"
	Denied   Verdict = "denied"
	Killed   Verdict = "killed"
	// Contained is an expectation only: denied or killed, whichever comes
	// first.
	Contained Verdict = "contained"
	// Skipped: the guard's stub has nothing that the case could be tried on.
	Skipped Verdict = "skipped"
)

// accepts reports whether a verdict is the expected one.
func (want Verdict) accepts(got Verdict) bool {
	return got == want || want == Contained && (got == Denied || got == Killed)
}

// Case is a misbehaving guest program and what is to be expected of it.
type Case struct {
	Name    string
	Promise string // P1 to P5
	About   string
	Want    Want
	// Note says why a guard that checks is breached all the same, or what
	// the verdict rests on.
	Note string

	hz      int           // 0: no ticks
	memory  int64         // of the guests, bytes; 0: stageMemory
	work    time.Duration // CPU time that one run may take beyond the usual
	events  int           // how many the offender may have; 0: defaultEvents
	emit    func(c *code)
	prepare func(s *stage, o *offender)                 // when the program is in place
	serve   func(s *stage, o *offender, ev *skas.Event) // its kernel, for calls of its own
	play    func(c *Case, s *stage, o *offender) error  // instead of running the offender alone
	needs   []string                                    // sites, by name
}

// Want is what is expected under each guard.
type Want struct{ None, Notify, Validate, Sealed Verdict }

// Under gives the expectation for one guard.
func (w Want) Under(g guard.Guard) Verdict { return w.named(g.String()) }

func (w Want) named(g string) Verdict {
	return map[string]Verdict{
		guard.None.String(): w.None, guard.Notify.String(): w.Notify,
		guard.Validate.String(): w.Validate, guard.Sealed.String(): w.Sealed,
	}[g]
}

// everywhere is one expectation for all guards.
func everywhere(v Verdict) Want { return Want{v, v, v, v} }

const defaultEvents = 400

// Where things are in the offender's address space.
const (
	textAt  arch.Addr = 0x10000 // its program, R-X
	dataAt  arch.Addr = 0x20000 // its variables and stack
	fakeAt  arch.Addr = 0x21000 // zeros that pass for stub data
	frameAt arch.Addr = 0x22000 // crafted signal frames, two pages
	readAt  arch.Addr = 0x30000 // a page that it may only read
	goneAt  arch.Addr = 0x38000 // a page that is taken from it
	holeAt  arch.Addr = 0x40000 // nothing: foreign frames are mapped here
	moreAt  arch.Addr = 0x80000 // pages granted on the way

	stackTop = dataAt + 0xe00
	// In the data page: a message for recvmsg, and room for descriptors.
	messageAt = dataAt + 0x100
	vectorAt  = dataAt + 0x180
	byteAt    = dataAt + 0x1a0
	controlAt = dataAt + 0x1c0
	resultAt  = dataAt + 0x200
)

// The offender's calls to its kernel.
const (
	nrAttempt = 1000 + iota // the attack begins
	nrDone                  // the program has come to its end
	nrMore                  // grant a further page
	nrOwn                   // what the case makes of it
	nrUntried               // the attempt was none: what it needs was not there
	nrVictim
)

// Cases lists the suite.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{mapCases(), reportCases(), checkCases(), trapCases(), timeCases(), callCases(), stateCases()} {
		all = append(all, group...)
	}
	return all
}

// Guards lists the guards that the suite has programs for, from the weakest to
// the strongest.
func Guards() []string {
	return []string{guard.None.String(), guard.Notify.String(), guard.Validate.String(), guard.Sealed.String()}
}
