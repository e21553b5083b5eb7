package containment

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/physmem"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// stage is the world of one case under one guard. One goroutine runs it, that of
// its vCPU.
type stage struct {
	mem   *physmem.Memory
	arch  arch.Arch
	guard guard.Guard
	mon   *skas.Monitor
	vcpu  *skas.VCPU
	proto *protocol

	victim    *victim
	offenders []*offender
	secrets   map[uint64]string // what each secret is kept in
	// stubFrames are the frames of the code that all stubs share; none if it
	// lies outside of guest memory.
	codeFrames []physmem.PFN
	free       physmem.PFN // a frame that nobody has, with a secret

	pool   []physmem.PFN // allocated for grants, so that free stays free
	noted  []byte        // guest memory before the offence
	exempt map[physmem.PFN]bool

	// mu is the lock of the offenders' kernel: of what is above from here on,
	// while they run.
	mu       sync.Mutex
	breaches []string
	tracing  io.Writer // nil: nowhere
}

// trace tells what happens on the stage.
func (s *stage) trace(format string, args ...any) {
	if s.tracing != nil {
		fmt.Fprintf(s.tracing, "\t"+format+"\n", args...)
	}
}

// setting is what a stage is made of.
type setting struct {
	guard  guard.Guard
	stall  skas.Stall
	hz     int
	memory int64     // of the guests, bytes; 0: stageMemory
	arch   arch.Arch // nil: amd64's
}

const (
	stageMemory = 2 << 20
	poolFrames  = 48
	victimPages = 64 // at moreAt, a power of two
)

// newStage makes the world up to the offender.
func newStage(set setting) (*stage, error) {
	s, err := newWorld(set)
	if err != nil {
		return nil, err
	}
	if s.victim, err = s.newVictim(); err != nil {
		return nil, errors.Join(fmt.Errorf("innocent mm: %w", err), s.close())
	}
	return s, nil
}

// newWorld makes a stage without anybody on it.
func newWorld(set setting) (s *stage, err error) {
	s = &stage{arch: set.arch, guard: set.guard, secrets: make(map[uint64]string), exempt: make(map[physmem.PFN]bool)}
	if s.arch == nil {
		s.arch = amd64.New()
	}
	if s.mem, err = physmem.New(cmp.Or(set.memory, stageMemory)); err != nil {
		return nil, err
	}
	s.mon, err = skas.New(skas.Config{Memory: s.mem, Arch: s.arch, HZ: set.hz, Guard: set.guard, Stall: set.stall,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return nil, errors.Join(err, s.mem.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if s.vcpu, err = s.mon.NewVCPU(0); err != nil {
		return s, err
	}
	s.codeFrames = s.inUse()
	if s.proto, err = newProtocol(s.arch, set.guard); err != nil {
		return s, err
	}
	return s, nil
}

// inUse lists the frames that have an owner.
func (s *stage) inUse() (list []physmem.PFN) {
	for pfn := range physmem.PFN(s.mem.Stats().Total) {
		if s.mem.Refs(pfn) > 0 {
			list = append(list, pfn)
		}
	}
	return list
}

// newMM starts a stub and says which frames of guest memory it took for itself.
func (s *stage) newMM() (*skas.MM, []physmem.PFN, error) {
	before := s.inUse()
	x, err := s.mon.NewMM()
	if err != nil {
		return nil, nil, err
	}
	frames := slices.DeleteFunc(s.inUse(), func(p physmem.PFN) bool { return slices.Contains(before, p) })
	return x, frames, nil
}

// secret makes one up.
func (s *stage) secret(keptIn string) uint64 {
	var b [8]byte
	rand.Read(b[:])
	v := binary.LittleEndian.Uint64(b[:]) | 1<<63 // nothing like an address
	s.secrets[v] = keptIn
	return v
}

// fill plants a secret all over a frame.
func (s *stage) fill(pfn physmem.PFN, secret uint64) {
	page := s.mem.Bytes(pfn)
	for i := 0; i < len(page); i += 8 {
		binary.LittleEndian.PutUint64(page[i:], secret)
	}
}

// page maps a fresh frame and gives its number.
func (s *stage) page(x *skas.MM, at arch.Addr, acc arch.Access) (physmem.PFN, error) {
	var pfn physmem.PFN
	if n := len(s.pool); n > 0 {
		pfn, s.pool = s.pool[n-1], s.pool[:n-1]
	} else {
		var err error
		if pfn, err = s.mem.Alloc(); err != nil {
			return 0, err
		}
	}
	return pfn, x.Table().Map(at, pfn, acc)
}

// plant makes the frame that is free, the pool, and notes all of memory.
func (s *stage) plant() error {
	for range poolFrames {
		pfn, err := s.mem.Alloc()
		if err != nil {
			return err
		}
		s.pool = append(s.pool, pfn)
	}
	var err error
	if s.free, err = s.mem.Alloc(); err != nil {
		return err
	}
	s.fill(s.free, s.secret("a frame that nobody has"))
	s.mem.Unref(s.free)
	s.noted = slices.Clone(s.memory())
	return nil
}

func (s *stage) memory() []byte { return s.mem.Range(0, s.mem.Stats().Total) }

// note takes a frame's contents for what it has to keep from now on.
func (s *stage) note(pfn physmem.PFN) {
	copy(s.noted[pfn*physmem.PageSize:], s.mem.Bytes(pfn))
}

// breach records what a witness has to say.
func (s *stage) breach(format string, args ...any) {
	if why := fmt.Sprintf(format, args...); !slices.Contains(s.breaches, why) {
		s.breaches = append(s.breaches, why)
	}
}

// hear asks the witnesses.
func (s *stage) hear() {
	for pfn := range physmem.PFN(s.mem.Stats().Total) {
		if s.exempt[pfn] {
			continue
		}
		was := s.noted[pfn*physmem.PageSize:][:physmem.PageSize]
		is := s.mem.Bytes(pfn)
		if bytes.Equal(is, was) {
			continue
		}
		changed := 0
		for i, b := range is {
			if b != was[i] {
				changed++
			}
		}
		s.breach("%d bytes of %s changed", changed, s.owner(pfn))
	}
	for _, o := range s.offenders {
		for _, pfn := range o.frames {
			page := s.mem.Bytes(pfn)
			for i := 0; i < len(page); i += 8 {
				s.witness(binary.LittleEndian.Uint64(page[i:]), "a page")
			}
		}
	}
	if len(s.breaches) > 0 {
		return // what the innocent does now proves no more
	}
	if err := s.victim.goOn(4); err != nil {
		s.breach("the innocent process cannot go on: %v", err)
	}
}

// witness looks at a value that the offender has.
func (s *stage) witness(v uint64, where string) {
	if keptIn, ok := s.secrets[v]; ok {
		s.breach("%s of the offender's holds the secret of %s", where, keptIn)
	}
}

func (s *stage) owner(pfn physmem.PFN) string {
	switch {
	case pfn == s.free:
		return "a frame that nobody has"
	case slices.Contains(s.codeFrames, pfn):
		return "the stub code"
	case slices.Contains(s.victim.stub, pfn):
		return "another process's stub data"
	case slices.Contains(s.victim.frames, pfn):
		return "another process's frame"
	}
	for _, o := range s.offenders {
		if slices.Contains(o.frames, pfn) {
			return "a frame of its own that it may only read"
		}
	}
	return fmt.Sprintf("frame %d", pfn)
}

// close takes the world down and says what it has left behind.
func (s *stage) close() error {
	var err error
	if s.vcpu != nil {
		s.vcpu.Close()
	}
	var pids []int
	if s.victim != nil {
		pids = append(pids, s.victim.mm.PID())
	}
	for _, o := range s.offenders {
		pids = append(pids, o.mm.PID())
		o.close()
	}
	for _, pfn := range s.pool {
		s.mem.Unref(pfn)
	}
	err = s.mon.Close()
	if used := s.mem.Stats().InUse; used != 0 {
		err = errors.Join(err, fmt.Errorf("%d frames are left", used))
	}
	for _, pid := range pids {
		if unix.Kill(pid, 0) == nil {
			err = errors.Join(err, fmt.Errorf("stub %d is left", pid))
		}
	}
	return errors.Join(err, s.mem.Close())
}

// descriptors counts what this process has open.
func descriptors() (int, error) {
	// The runtime opens its poller's descriptors with the first pipe, for ever.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	list, err := os.ReadDir("/proc/self/fd")
	return len(list), err
}

// victim is the innocent process: it counts, holds a secret in registers and
// another in memory, and writes to pages that it gets on the way.
type victim struct {
	s      *stage
	mm     *skas.MM
	regs   arch.Regs
	stub   []physmem.PFN // its stub's frames, if they are guest memory
	frames []physmem.PFN
	more   arch.Addr // where it gets what was others'
	inReg  uint64
	inMem  uint64
	count  uint64
}

func (s *stage) newVictim() (*victim, error) {
	v := &victim{s: s, more: goneAt, inReg: s.secret("another process's registers"), inMem: s.secret("another process's frame")}
	a := asm.New(uint64(textAt))
	a.Mov(8, asm.R13, asm.Imm(int64(v.inReg)))
	a.Mov(8, asm.RBX, num(dataAt))
	a.Mov(8, asm.R14, num(moreAt))
	a.Label("loop")
	a.Inc(8, asm.R12)
	a.Mov(8, asm.RAX, asm.Imm(nrVictim))
	a.Mov(8, asm.RDI, asm.R12)
	a.Mov(8, asm.RSI, asm.Ptr(asm.RBX, 0))
	a.Mov(8, asm.RDX, asm.R13)
	a.Syscall()
	a.Alu(asm.Add, 8, asm.R14, asm.Imm(arch.PageSize))
	a.Alu(asm.And, 8, asm.R14, num(moreAt|victimPages*arch.PageSize-1)) // around and around
	a.Mov(8, asm.Ptr(asm.R14, 0), asm.R12)
	a.Jmp("loop")
	text, err := a.Assemble()
	if err != nil {
		return nil, err
	}
	if v.mm, v.stub, err = s.newMM(); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		at   arch.Addr
		acc  arch.Access
		fill func(physmem.PFN)
	}{
		{textAt, arch.Read | arch.Exec, func(pfn physmem.PFN) { copy(s.mem.Bytes(pfn), text) }},
		{dataAt, arch.Read | arch.Write, func(pfn physmem.PFN) { s.fill(pfn, v.inMem) }},
	} {
		pfn, err := s.page(v.mm, p.at, p.acc)
		if err != nil {
			return nil, err
		}
		p.fill(pfn)
		v.frames = append(v.frames, pfn)
	}
	s.arch.Start(&v.regs, textAt, stackTop)
	s.vcpu.StartSlice()
	return v, v.goOn(2)
}

// take maps a frame that is its own from now on.
func (v *victim) take(pfn physmem.PFN, acc arch.Access) error {
	v.frames = append(v.frames, pfn)
	v.more += arch.PageSize
	return v.mm.Table().Map(v.more-arch.PageSize, pfn, acc)
}

// secretFrame is the one with the secret.
func (v *victim) secretFrame() physmem.PFN { return v.frames[1] }

// goOn has it make a number of rounds.
func (v *victim) goOn(rounds int) error {
	for rounds > 0 {
		ev, err := v.s.vcpu.Run(v.mm, &v.regs)
		if err != nil {
			return err
		}
		switch {
		case ev.Kind == skas.Tick:
		case ev.Kind == skas.PageFault && ev.Fault.Addr >= moreAt && ev.Fault.Addr < moreAt+victimPages*arch.PageSize && !ev.Fault.Present:
			pfn, err := v.s.page(v.mm, ev.Fault.Addr.PageDown(), arch.Read|arch.Write)
			if err != nil {
				return err
			}
			v.frames = append(v.frames, pfn)
		case ev.Kind == skas.Syscall && ev.NR == nrVictim:
			v.count++
			if ev.Args[0] != v.count || ev.Args[1] != v.inMem || ev.Args[2] != v.inReg {
				return fmt.Errorf("in round %d it has %#x, instead of the count, %#x and %#x", v.count, ev.Args[:3], v.inMem, v.inReg)
			}
			rounds--
		default:
			return fmt.Errorf("it stopped with %+v", ev)
		}
	}
	return nil
}
