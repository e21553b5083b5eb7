// Package stubabi is the contract between the monitor and the stub: the layout
// of the pages that both see, the start-up message, the handshake word and the
// exit codes. It is a leaf: both sides import it and it imports nothing.
//
// One turn of the handshake: the stub stores what it reports, sets the word to
// InKern, wakes the monitor and waits. The monitor takes the report, does its
// work, shows the batch, sets the word to InChild and wakes the stub, which runs
// the entries and resumes the guest.
//
// There are two forms of it. UML's (layout.go, word.go) has everything in one
// page, Data, with the signal stack behind it. The sealed one (sealed.go) has the
// batch in Control, which the stub can only read, and all else in SealedData.
//
// Each field says who writes it and when. Nothing that a stub can write is to be
// trusted: one that guest code has hijacked may write any byte at any time.
package stubabi
