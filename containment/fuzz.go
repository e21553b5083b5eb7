package containment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/physmem"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// FuzzOptions choose how to fuzz.
type FuzzOptions struct {
	Guard guard.Guard
	Stall skas.Stall
	// Seed of the first stub; each further one has the next number.
	Seed uint64
	// Stubs is how many to use up; For ends it earlier. One of them is needed.
	Stubs int
	For   time.Duration
	// Progress is told how many stubs were used up, now and then.
	Progress func(stubs int)
}

// FuzzReport is what came of it.
type FuzzReport struct {
	Stubs  int // used up
	Killed int // of these, dead at the end
	Jumps  int // into stub pages
	// Breaches are what the witnesses say; Again is the command line that
	// repeats the stub.
	Breaches []string
	Again    string
}

// Jumps that one stub gets.
const fuzzJumps = 12

// Fuzz uses up stubs, each with a program that writes random values into stub
// data and jumps to a random place in the stub's pages with random registers,
// again and again. Secrets are planted as in every case. It ends at the first
// breach.
func Fuzz(o FuzzOptions) (r FuzzReport, err error) {
	done := make(chan struct{})
	go func() { // its thread becomes a vCPU
		defer close(done)
		var s *stage
		if s, err = newStage(setting{guard: o.Guard, stall: o.Stall, hz: fuzzHZ}); err != nil {
			return
		}
		err = s.fuzz(o, &r)
		err = errors.Join(err, s.close())
	}()
	<-done
	return r, err
}

const fuzzHZ = 500

func (s *stage) fuzz(o FuzzOptions, r *FuzzReport) error {
	if err := s.plant(); err != nil {
		return err
	}
	in, err := skas.Inspect(s.arch, o.Guard)
	if err != nil {
		return err
	}
	start := time.Now()
	for seed := o.Seed; (o.Stubs == 0 || r.Stubs < o.Stubs) && (o.For == 0 || time.Since(start) < o.For); seed++ {
		f := &fuzzer{s: s, in: in, rnd: rand.New(rand.NewPCG(seed, 0))}
		if err := f.run(r); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		r.Stubs++
		if len(s.breaches) > 0 {
			r.Breaches = s.breaches
			r.Again = fmt.Sprintf("skas containment fuzz --guard %v --seed %d --stubs 1", o.Guard, seed)
			return nil
		}
		if o.Progress != nil && r.Stubs%100 == 0 {
			o.Progress(r.Stubs)
		}
	}
	return nil
}

// fuzzer drives one stub.
type fuzzer struct {
	s   *stage
	o   *offender
	in  skas.Inspection
	rnd *rand.Rand
	fd  uint32 // of guest memory, in the stub
}

// The program takes its orders from here: a count and that many pairs of address
// and value to store, then the registers to jump with, in the order of jumpRegs,
// and the flags.
const (
	pokesAt  = dataAt + 0x400
	jumpAt   = dataAt + 0x800
	flagsAt  = jumpAt + 16*8
	maxPokes = 6
)

// jumpRegs are loaded before a jump; r11 holds where to.
var jumpRegs = []asm.Reg{asm.RAX, asm.RCX, asm.RDX, asm.RSI, asm.RDI, asm.RBP, asm.R8, asm.R9, asm.R10, asm.R11,
	asm.R12, asm.R13, asm.R14, asm.R15, asm.RSP, asm.RBX}

func fuzzProgram(c *code) {
	c.attempt()
	c.obtain()
	c.done()
	c.Label("fuzz")
	c.Mov(8, asm.RSI, num(pokesAt+8))
	c.Mov(8, asm.RBX, num(pokesAt))
	c.Mov(8, asm.RCX, asm.Ptr(asm.RBX, 0))
	c.Label("poke")
	c.Test(8, asm.RCX, asm.RCX)
	c.Jcc(asm.E, "jump")
	c.Mov(8, asm.RDI, asm.Ptr(asm.RSI, 0))
	c.Mov(8, asm.RAX, asm.Ptr(asm.RSI, 8))
	c.Mov(4, asm.Ptr(asm.RDI, 0), asm.RAX)
	c.Alu(asm.Add, 8, asm.RSI, asm.Imm(16))
	c.Dec(8, asm.RCX)
	c.Jmp("poke")
	c.Label("jump")
	c.Mov(8, asm.RSP, num(stackTop))
	c.Mov(8, asm.RBX, num(jumpAt))
	c.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 16*8))
	c.Push(asm.RAX)
	for i, r := range jumpRegs {
		if r != asm.RSP && r != asm.RBX {
			c.Mov(8, r, asm.Ptr(asm.RBX, int32(8*i)))
		}
	}
	c.Bytes([]byte{0x9d}) // popfq
	c.Mov(8, asm.RSP, asm.Ptr(asm.RBX, 14*8))
	c.Mov(8, asm.RBX, asm.Ptr(asm.RBX, 15*8))
	c.JmpTo(asm.R11)
}

var fuzzCase = Case{Name: "fuzz", emit: fuzzProgram}

func (f *fuzzer) run(r *FuzzReport) error {
	s := f.s
	s.mon.Quiesce()
	clear(s.exempt)
	o, err := s.newOffender(&fuzzCase)
	if err != nil {
		return err
	}
	f.o = o
	defer func() {
		o.mm.Destroy()
		o.close()
		s.offenders = s.offenders[:0]
		s.mon.Quiesce()
	}()
	if err := o.run(&fuzzCase, s.vcpu); err != nil || o.dead != nil || len(s.breaches) > 0 {
		return errors.Join(err, o.dead) // it has done nothing yet
	}
	if f.fd, err = o.mm.Table().LoadUint32(resultAt); err != nil {
		return err
	}
	copy(s.noted, s.memory()) // the host's own changes since the last stub are no breach
	o.mood.watch(o, 0)
	defer o.mood.rest()
	for jump := 0; jump < fuzzJumps && o.dead == nil && len(s.breaches) == 0; jump++ {
		f.orders()
		r.Jumps++
		if err := f.jump(); err != nil {
			return err
		}
	}
	if o.dead != nil {
		r.Killed++
	}
	s.hear()
	return nil
}

// jump has the program carry out its orders, until it faults or has had a few
// events.
func (f *fuzzer) jump() error {
	o, s := f.o, f.s
	s.arch.Start(&o.regs, o.labels["fuzz"], stackTop)
	for range 3 {
		o.mood.begin()
		ev, err := s.vcpu.Run(o.mm, &o.regs)
		if hung := o.mood.end(); hung != "" {
			s.breach("%s", hung)
			o.dead = err
			return nil
		}
		if errors.Is(err, skas.ErrStubDead) {
			o.dead = err
			return nil
		}
		if err != nil {
			return err
		}
		for _, v := range o.regs.GPR {
			s.witness(v, "a register")
		}
		if ev.Kind != skas.Tick {
			return nil
		}
	}
	return nil
}

func pick[T any](f *fuzzer, list ...T) T { return list[f.rnd.IntN(len(list))] }

// orders writes what the program does next, and changes the page table, so that
// there is a live batch.
func (f *fuzzer) orders() {
	o, t := f.o, f.o.mm.Table()
	if f.rnd.IntN(2) == 0 && len(o.frames) < 40 {
		if _, err := o.grant(o.more, pick(f, arch.Read, arch.Read|arch.Write)); err != nil {
			panic("BUG: " + err.Error())
		}
		o.more += arch.Addr(pick(f, 1, 2)) * arch.PageSize
	}
	if f.rnd.IntN(4) == 0 {
		t.Protect(readAt, readAt+arch.PageSize, pick(f, 0, arch.Read))
	}
	le := binary.LittleEndian
	pokes := f.rnd.IntN(maxPokes + 1)
	b := make([]byte, 8+16*pokes)
	le.PutUint64(b, uint64(pokes))
	for i := range pokes {
		at := f.stubData()
		if f.rnd.IntN(6) == 0 {
			at = uint64(holeAt)
		}
		le.PutUint64(b[8+16*i:], at)
		le.PutUint64(b[16+16*i:], f.value())
	}
	o.write(pokesAt, b)

	regs := make(map[asm.Reg]uint64)
	for _, r := range jumpRegs {
		regs[r] = f.value()
	}
	regs[asm.R11] = f.entry()
	if f.rnd.IntN(2) == 0 {
		f.mapping(regs)
	}
	b = make([]byte, 8*(len(jumpRegs)+1))
	for i, r := range jumpRegs {
		le.PutUint64(b[8*i:], regs[r])
	}
	var flags uint64
	for _, bit := range []uint64{amd64.TrapFlag, flagDirection, flagAlignment, 1, 1 << 6, 1 << 7} {
		if f.rnd.IntN(4) == 0 {
			flags |= bit
		}
	}
	le.PutUint64(b[8*len(jumpRegs):], flags|0x202)
	o.write(jumpAt, b)
}

// mapping makes the registers those of a good mapping call of another process's
// frame, but for one or two things.
func (f *fuzzer) mapping(regs map[asm.Reg]uint64) {
	s := f.s
	call := map[asm.Reg]uint64{
		asm.RAX: unix.SYS_MMAP, asm.RDI: uint64(holeAt), asm.RSI: arch.PageSize, asm.RDX: uint64(pick(f, protR, protRW)),
		asm.R10: uint64(s.proto.flags), asm.R8: uint64(f.fd),
		asm.R9:  uint64(pick(f, slices.Concat(f.foreign(), f.o.frames)...)) * arch.PageSize,
		asm.RBX: uint64(f.rnd.IntN(4)), asm.R11: uint64(s.proto.sites[pick(f, siteMmap, siteMmap, siteMunmap)]),
	}
	for range f.rnd.IntN(3) {
		delete(call, pick(f, jumpRegs...))
	}
	for r, v := range call {
		regs[r] = v
	}
}

// foreign are frames of another process, the same for each stub.
func (f *fuzzer) foreign() []physmem.PFN { return f.s.victim.frames[:2] }

// entry is where to jump to.
func (f *fuzzer) entry() uint64 {
	code := uint64(f.in.Layout.Code)
	switch f.rnd.IntN(10) {
	case 0, 1:
		return code + pick(f, f.in.Stub.Labels...).Offset
	case 2:
		var sites []string
		for name := range f.s.proto.sites {
			sites = append(sites, name)
		}
		slices.Sort(sites)
		return uint64(f.s.proto.sites[pick(f, sites...)])
	case 3:
		return f.stubData()
	case 4, 5:
		return uint64(holeAt) // not yet: another round of stores first
	}
	return code + uint64(f.rnd.IntN(len(f.in.Stub.Code)))
}

// stubData is an address in the pages that the stub shares with the monitor.
func (f *fuzzer) stubData() uint64 {
	l := f.in.Layout
	data := uint64(l.Data)
	switch f.rnd.IntN(4) {
	case 0:
		return uint64(pick(f, f.s.proto.word, f.s.proto.signal))
	case 1:
		return data + uint64(f.rnd.IntN(0x100))&^3
	case 2:
		return uint64(f.s.proto.stack) + uint64(f.rnd.Int64N(f.s.proto.stackSize))&^3
	}
	return data + uint64(f.rnd.IntN(arch.PageSize))&^3
}

func (f *fuzzer) value() uint64 {
	switch f.rnd.IntN(12) {
	case 0:
		return uint64(f.rnd.IntN(4))
	case 1:
		return f.rnd.Uint64()
	case 2:
		return uint64(pick(f, f.foreign()...)) * arch.PageSize
	case 3:
		return uint64(pick(f, f.o.frames...)) * arch.PageSize
	case 4:
		return f.stubData()
	case 5:
		return uint64(f.in.Layout.Code) + uint64(f.rnd.IntN(arch.PageSize))
	case 6:
		return uint64(pick(f, holeAt, readAt, moreAt, dataAt, frameAt, stackTop, f.o.more))
	case 7:
		return uint64(pick(f, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_FUTEX, unix.SYS_RT_SIGRETURN, unix.SYS_EXIT_GROUP))
	case 8:
		return uint64(pick(f, unix.SIGSYS, unix.SIGALRM, unix.SIGSEGV, unix.SIGTRAP))
	case 9:
		return uint64(pick(f, stubabi.ReportFresh, stubabi.ReportSame, stubabi.ReportRan))
	case 10:
		return uint64(f.s.mon.End()) - uint64(f.rnd.IntN(3))*arch.PageSize + arch.PageSize
	}
	return uint64(pick(f, arch.PageSize, 2*arch.PageSize, int(f.s.proto.flags), -1, stubabi.MaxSealedLength))
}

// String tells the report in a few lines.
func (r FuzzReport) String() string {
	text := fmt.Sprintf("%d stubs used up in %d jumps, %d of them dead", r.Stubs, r.Jumps, r.Killed)
	if len(r.Breaches) > 0 {
		text += fmt.Sprintf("\nbreached: %s\nagain: %s", strings.Join(r.Breaches, "; "), r.Again)
	}
	return text
}
