package stubabi

import "sync/atomic"

// State is the value of the handshake word: whose turn it is.
type State uint32

const (
	// InChild: the stub runs (batch or guest code); the monitor waits.
	// Written by the monitor alone.
	InChild State = 0
	// InKern: the stub has reported and waits. Written by the stub, and by
	// the monitor for a stub that died, so that nobody waits for the dead.
	InKern State = 1
)

// Word is the handshake word. Both sides may write it at any time, so it is
// only ever reached through these methods.
type Word struct{ v atomic.Uint32 }

// Get reads the word. A hijacked stub may have stored any value: everything
// but InChild counts as a report.
func (w *Word) Get() State { return State(w.v.Load()) }

// Set writes the word.
func (w *Word) Set(s State) { w.v.Store(uint32(s)) }

// Report is one consistent copy of what a stub says when it stops.
type Report struct {
	Err        int64
	Len        int32
	Signal     int32
	SIOffset   uint16
	MCtxOffset uint16
}

// Report copies the stub's words out of the shared page, each exactly once.
func (d *Data) Report() Report {
	return Report{
		Err:        atomic.LoadInt64(&d.Err),
		Len:        atomic.LoadInt32(&d.Len),
		Signal:     atomic.LoadInt32(&d.Signal),
		SIOffset:   load16(&d.SIOffset),
		MCtxOffset: load16(&d.MCtxOffset),
	}
}
