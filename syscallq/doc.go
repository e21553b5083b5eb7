// Package syscallq is the batch of mapping calls that a stub runs before it
// resumes the guest: UML's arch/um/os-Linux/skas/mem.c.
//
// One turn: the walk of the page table calls Map and Unmap; each call either
// extends the last entry (same kind, rights and descriptor, adjacent addresses
// and offsets) or appends a new one; when entries or descriptor slots run out,
// the queue asks its owner to run what is there and goes on with an empty
// batch. The owner publishes the rest with the resume.
//
// The first failure sticks: later entries go nowhere, and the next Flush
// returns the error and clears it.
//
// There is no lock: whoever holds the mm's turnstile owns the queue. The batch
// is built in the monitor's own memory and shown to the stub when it is
// complete: a stub that scribbles over the shared page cannot change a merge,
// and never sees half a batch.
package syscallq
