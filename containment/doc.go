// Package containment tests the sandbox from the inside, in the way that kernel
// selftests test a kernel: each Case is a misbehaving guest program that this
// package assembles, and says which promise of the design it tests.
//
//	P1  no guest instruction, and not the kernel on its behalf, reads or
//	    writes a frame that the mm's page table does not grant
//	P2  no stub can hang or crash the monitor
//	P3  no stub can evade the tick
//	P4  a frame taken from an mm is not reused before its mapping is gone
//	P5  a misbehaving guest hurts only tasks of its own mm
//
// One turn of a case: a stage is set up with a monitor, a vCPU, an innocent mm
// that is stopped in the middle of its work, and the offender's mm. Secrets are
// planted where the offender has no business: in the innocent's frames and
// registers, and in a frame that is free. All of guest memory is noted. Then the
// offender runs, with this package as its kernel, until its program is done, its
// stub is dead, or it has had its share of events. At the end the witnesses are
// heard:
//
//	breached  a secret is in a register or a page of the offender, a byte of a
//	          frame that is not its own has changed, the innocent cannot go on,
//	          or a run hung
//	killed    nothing of that, and the offender's stub is dead
//	denied    nothing of that, and the offender's stub goes on
//
// Only the witnesses decide. A case whose program never came to its attempt
// is an error, not a success, and so is anything that the stage leaves behind:
// frames, descriptors, processes. Each case says what is expected under each
// guard; under guard none that is mostly a breach, or the case would test
// nothing.
package containment
