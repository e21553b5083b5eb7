// Package arch declares what the monitor and the guest need to know of a CPU:
// its registers as an opaque set, the layout of signal frames, the system call
// convention and the machine code of the stub. The packages below it (amd64
// today, 386 next) are the only ones that name a register or an instruction,
// and all of them build on every host.
//
// One turn: a stub stops, skas copies the mcontext out of the shared page and
// LoadFrame turns the copy into Regs; the guest asks Syscall what is wanted,
// answers with SetResult; StoreFrame (for UML's stub, into the frame) or
// StoreReturn (for the sealed one, beside it) writes the registers into the
// shared pages again before the stub is woken.
//
// Inputs called frame or mctx are copies of bytes that a stub may have forged:
// any content must give some result, never a panic.
package arch
