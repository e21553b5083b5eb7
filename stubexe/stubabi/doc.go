// Package stubabi is the contract between the monitor and the stub: the layout
// of the shared queue page, the start-up message, the handshake word and the
// exit codes. It is a leaf: both sides import it and it imports nothing.
//
// One turn of the handshake: the stub stores Signal and the offsets of its
// signal frame, sets the word to InKern, wakes the monitor and waits. The
// monitor takes a Report, does its work, writes Entries and Len, sets the word
// to InChild and wakes the stub, which runs the entries and resumes the guest.
//
// Each field says who writes it and when. None of it can be trusted: a stub
// that guest code has hijacked may write any byte of these pages at any time.
package stubabi
