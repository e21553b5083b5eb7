package containment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/internal/sys"
	"goskas/physmem"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// offender is the process that misbehaves.
type offender struct {
	s      *stage
	mm     *skas.MM
	regs   arch.Regs
	stub   []physmem.PFN
	frames []physmem.PFN // its own; a witness reads them
	labels map[string]arch.Addr
	pidfd  int
	more   arch.Addr
	calls  int // of its own kind, as the case counts them

	elsewhere bool // its stub runs on another CPU than its vCPU, if there is one
	attempted bool
	done      bool  // its program came to its end
	dead      error // what its stub died of
	events    int
	mood      sentry // watches over its runs
}

// newOffender starts a stub with the case's program.
func (s *stage) newOffender(c *Case) (o *offender, err error) {
	o = &offender{s: s, labels: make(map[string]arch.Addr), more: moreAt, pidfd: -1}
	if o.mm, o.stub, err = s.newMM(); err != nil {
		return nil, err
	}
	s.offenders = append(s.offenders, o)
	if o.pidfd, err = unix.PidfdOpen(o.mm.PID(), 0); err != nil {
		return nil, err
	}
	for _, pfn := range o.stub {
		s.exempt[pfn] = true
	}
	for _, at := range []arch.Addr{dataAt, fakeAt, frameAt, frameAt + arch.PageSize} {
		if _, err := o.grant(at, arch.Read|arch.Write); err != nil {
			return nil, err
		}
	}
	if err := o.load(readAt, nil, arch.Read); err != nil {
		return nil, err
	}
	prog := &code{Assembler: asm.New(uint64(textAt)), protocol: s.proto, s: s, o: o}
	c.emit(prog)
	text, err := prog.Assemble()
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", c.Name, err)
	}
	for _, l := range prog.Labels() {
		off, _ := prog.Offset(l)
		o.labels[l] = textAt + arch.Addr(off)
	}
	if err := o.load(textAt, text, arch.Read|arch.Exec); err != nil {
		return nil, err
	}
	o.writeMessage()
	s.arch.Start(&o.regs, textAt, stackTop)
	if c.prepare != nil {
		c.prepare(s, o)
	}
	return o, nil
}

// grant gives it a frame of its own.
func (o *offender) grant(at arch.Addr, acc arch.Access) (physmem.PFN, error) {
	pfn, err := o.s.page(o.mm, at, acc)
	if err == nil {
		o.s.exempt[pfn] = true
		o.frames = append(o.frames, pfn)
	}
	return pfn, err
}

// load puts pages of contents at an address that it may not write to.
func (o *offender) load(at arch.Addr, b []byte, acc arch.Access) error {
	for i := 0; i == 0 || i < len(b); i += arch.PageSize {
		pfn, err := o.grant(at+arch.Addr(i), acc)
		if err != nil {
			return err
		}
		copy(o.s.mem.Bytes(pfn), b[min(i, len(b)):])
		o.s.note(pfn)
		delete(o.s.exempt, pfn)
	}
	return nil
}

// write puts bytes into its memory.
func (o *offender) write(at arch.Addr, b []byte) {
	if _, err := o.mm.Table().CopyOut(at, b); err != nil {
		panic("BUG: the offender's own pages: " + err.Error())
	}
}

// writeMessage lays out a msghdr with room for descriptors (struct msghdr,
// linux/socket.h).
func (o *offender) writeMessage() {
	le := binary.LittleEndian
	msg := make([]byte, 56)
	le.PutUint64(msg[16:], uint64(vectorAt))
	le.PutUint64(msg[24:], 1)
	le.PutUint64(msg[32:], uint64(controlAt))
	le.PutUint64(msg[40:], 32)
	o.write(messageAt, msg)
	vec := make([]byte, 16)
	le.PutUint64(vec, uint64(byteAt))
	le.PutUint64(vec[8:], 1)
	o.write(vectorAt, vec)
}

// revoke takes a page from it and gives the frame to the innocent, with a secret.
// That is what a kernel does that believes in its page tables.
func (o *offender) revoke(at arch.Addr) error {
	s := o.s
	pte := o.mm.Table().Lookup(at)
	if !pte.Present() {
		return nil
	}
	pfn := pte.PFN()
	o.mm.Table().Unmap(at, at+arch.PageSize)
	if s.mem.Refs(pfn) > 0 {
		return nil // not given up yet: nobody can get it
	}
	return o.give(pfn)
}

// give hands a frame that has just become free to the innocent, with a secret.
func (o *offender) give(pfn physmem.PFN) error {
	s := o.s
	// The last frame given back is the first to be used again.
	next, err := s.mem.Alloc()
	if err != nil {
		return err
	}
	if next != pfn {
		return fmt.Errorf("frame %d was given up, but %d is the next", pfn, next)
	}
	o.frames = slices.DeleteFunc(o.frames, func(p physmem.PFN) bool { return p == pfn })
	delete(s.exempt, pfn)
	s.fill(pfn, s.secret("a frame that was taken from it and given to another"))
	s.note(pfn)
	return s.victim.take(pfn, arch.Read|arch.Write)
}

// reg is one of its registers.
func (o *offender) reg(r asm.Reg) *uint64 { return amd64.Register(&o.regs, r) }

// inStub reports whether it was stopped in the stub's pages.
func (o *offender) inStub() bool { return o.s.arch.PC(&o.regs) >= o.s.mon.End() }

// run is its kernel: it runs the program to its end, on a vCPU.
func (o *offender) run(c *Case, v *skas.VCPU) error {
	limit := c.events
	if limit == 0 {
		limit = defaultEvents
	}
	o.mood.watch(o, c.work)
	defer o.mood.rest()
	for o.events < limit && !o.done {
		o.mood.begin()
		ev, err := v.Run(o.mm, &o.regs)
		if hung := o.mood.end(); hung != "" {
			o.hung(hung)
			return nil
		}
		if errors.Is(err, skas.ErrStubDead) {
			o.dead = err
			o.s.trace("%v", err)
			return nil
		}
		if err != nil {
			return err
		}
		o.mood.begin()
		err = o.stopped(c, &ev)
		if hung := o.mood.end(); hung != "" {
			o.hung(hung)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stopped shows an event to the witness and has the kernel answer it.
func (o *offender) stopped(c *Case, ev *skas.Event) error {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.events++; o.events == 1 && o.elsewhere {
		if err := o.move(); err != nil {
			return err
		}
	}
	o.s.trace("%v signal %d nr %d pc %#x rax %#x fault %#x", ev.Kind, ev.Signo, ev.NR, o.s.arch.PC(&o.regs), *o.reg(asm.RAX), ev.Fault.Addr)
	for _, r := range o.regs.GPR {
		o.s.witness(r, "a register")
	}
	return o.answer(c, ev)
}

// move puts its stub on another CPU than that of the stage's vCPU.
func (o *offender) move() error {
	for cpu := range runtime.NumCPU() {
		if cpu != o.s.vcpu.CPU() {
			return sys.SetAffinity(o.mm.PID(), cpu)
		}
	}
	return nil
}

func (o *offender) hung(how string) {
	o.s.mu.Lock()
	o.s.breach("%s", how)
	o.s.mu.Unlock()
}

func (o *offender) answer(c *Case, ev *skas.Event) error {
	switch ev.Kind {
	case skas.Syscall:
		o.s.arch.SetResult(&o.regs, 0)
		switch ev.NR {
		case nrAttempt:
			o.attempted = true
		case nrDone:
			o.done = true
		case nrUntried:
			o.attempted, o.done = false, true
		case nrMore:
			_, err := o.grant(o.more, arch.Read|arch.Write)
			o.more += 2 * arch.PageSize
			return err
		default:
			if c.serve != nil {
				c.serve(o.s, o, ev)
			} else {
				o.s.arch.SetResult(&o.regs, -int64(unix.ENOSYS))
			}
		}
	case skas.PageFault, skas.Trap:
		switch {
		case ev.Signo == int(unix.SIGTRAP) && *amd64.Flags(&o.regs)&amd64.TrapFlag != 0:
			// Single steps just go on.
		case ev.Signo == int(unix.SIGSYS):
			// A forged call whose frame a tick has replaced meanwhile.
		case o.inStub() && *o.reg(asm.RBP) != 0:
			// As from a signal handler of its own.
			o.s.arch.SetPC(&o.regs, arch.Addr(*o.reg(asm.RBP)))
			*amd64.Flags(&o.regs) &^= amd64.TrapFlag
		default:
			o.done = true // of a fatal signal
		}
	}
	return nil
}

func (o *offender) close() {
	if o.pidfd >= 0 {
		unix.Close(o.pidfd)
	}
}
