package containment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/physmem"
	"goskas/skas"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// hostCases are those of the sealed stub's checks that need the host to do
// something at a moment of the test's choice. They play the unlucky moments; what
// the program does in them it could do by itself.
func hostCases() []Case {
	want := Want{Skipped, Skipped, Skipped, Killed}
	return []Case{
		{
			Name: "tick-at-die", Promise: "P1", Want: want,
			About: "enters the stub's mmap, is found out, and has a tick come before it is dead",
			emit: func(c *code) {
				c.attempt()
				c.ifTried("mapped")
				c.tried()
				c.gate()
				c.args(unix.SYS_MMAP, c.sealedMap(holeAt, arch.PageSize, protR, num(c.s.victim.secretFrame()*arch.PageSize)))
				c.Mov(8, asm.RBX, asm.Imm(0))
				c.Mov(8, asm.RSP, num(c.stubSP))
				c.jumpAt(siteMmap, "mapped")
				c.Label("mapped")
				c.peek(holeAt)
				c.done()
			},
			play: stepped(func(st *stepper) error {
				p := st.o.s.proto
				err := st.to(p.layout.Code + p.code["die"])
				return errors.Join(err, unix.Kill(st.pid, unix.SIGALRM), st.detach())
			}),
		},
		{
			Name: "check-rewritten", Promise: "P1", Want: want,
			About: "makes a mapping of which one half is in the live batch and the other in the next one, which the monitor publishes in the middle of the check",
			emit:  halves, serve: grantThenNarrow,
			play: stepped(func(st *stepper) error {
				p := st.o.s.proto
				if err := st.to(p.layout.Code + st.o.compares(offsetCompared)); err != nil {
					return err
				}
				// The guest has flipped the word before; the monitor looks now.
				if err := st.setWord(p.word, uint32(stubabi.InKern)); err != nil {
					return err
				}
				for start := time.Now(); ; time.Sleep(time.Millisecond) {
					switch w, err := st.word(p.word); {
					case err != nil:
						return err
					case w == uint32(stubabi.InChild):
						return st.detach()
					case time.Since(start) > 30*time.Second:
						return errors.New("the monitor does not publish another batch")
					}
				}
			}),
		},
		{
			Name: "check-torn", Promise: "P1", Want: want,
			About: "makes a mapping out of an entry of which the monitor has written one half, and is in no hurry to write the other",
			emit:  halves, serve: grantThenNarrow,
			play: stepped(func(st *stepper) error {
				if err := st.o.halfPublish(st.o.mm.Table().Lookup(readAt).PFN()); err != nil {
					return err
				}
				return st.detach()
			}),
		},
		atLimit("unmap-at-limit", "has a page taken away for which the host would have to split a mapping, when it may have no more of them", want,
			func(o *offender, at arch.Addr) { o.mm.Table().Unmap(at, at+arch.PageSize) }),
		atLimit("remap-at-limit", "the same when another page takes its place", want,
			func(o *offender, at arch.Addr) {
				if _, err := o.grant(at, arch.Read); err != nil {
					panic("BUG: " + err.Error())
				}
			}),
	}
}

// stepped runs the offender with a stepper.
func stepped(f func(st *stepper) error) func(c *Case, s *stage, o *offender) error {
	return func(c *Case, s *stage, o *offender) error {
		stepped := o.stepping(f)
		return errors.Join(o.run(c, s.vcpu), <-stepped)
	}
}

// halves asks for the frame at readAt with write access, at a page that it has
// for writing.
func halves(c *code) {
	frame := c.o.mm.Table().Lookup(readAt).PFN()
	c.attempt()
	c.call(nrOwn)
	c.ifTried("mapped")
	c.tried()
	c.sayCall(nrOwn)
	c.gate()
	c.args(unix.SYS_MMAP, c.sealedMap(moreAt, arch.PageSize, protRW, num(frame*arch.PageSize)))
	c.Mov(8, asm.RBX, asm.Imm(0))
	c.jumpAt(siteMmap, "mapped")
	c.Label("mapped")
	c.poke(moreAt)
	c.done()
}

// grantThenNarrow grants a page for writing, and then has another frame there for
// reading.
func grantThenNarrow(s *stage, o *offender, ev *skas.Event) {
	if o.calls++; o.calls == 1 {
		if _, err := o.grant(moreAt, arch.Read|arch.Write); err != nil {
			panic("BUG: " + err.Error())
		}
		return
	}
	o.narrow(moreAt)
}

// narrow maps the frame at readAt for reading.
func (o *offender) narrow(at arch.Addr) {
	frame := o.mm.Table().Lookup(readAt).PFN()
	o.s.mem.Ref(frame)
	if err := o.mm.Table().Map(at, frame, arch.Read); err != nil {
		panic("BUG: " + err.Error())
	}
}

// offsetCompared is the comparison of r9 with an entry's offset.
var offsetCompared = []byte{0x4c, 0x3b, 0x49, stubabi.OffSealedOffset}

// compares finds an instruction behind the mmap in the stub, as an offset.
func (o *offender) compares(insn []byte) arch.Addr {
	in, err := skas.Inspect(o.s.arch, o.s.guard)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	past, _ := in.Stub.Label("past-mmap")
	i := strings.Index(string(in.Stub.Code[past:]), string(insn))
	if i < 0 {
		panic("BUG: no such instruction in the stub")
	}
	return arch.Addr(past) + arch.Addr(i)
}

// halfPublish leaves the live batch as the monitor does that is stopped in
// (*Control).Publish: the number is odd, and of the first entry the frame is the
// next batch's and the access that of the last one.
func (o *offender) halfPublish(frame physmem.PFN) error {
	fd, offset, err := o.control()
	if err != nil {
		return err
	}
	defer fd.Close()
	var b [8]byte
	if _, err := fd.ReadAt(b[:4], offset+stubabi.OffControlSeq); err != nil {
		return err
	}
	le := binary.LittleEndian
	le.PutUint32(b[:], le.Uint32(b[:])+1)
	if _, err := fd.WriteAt(b[:4], offset+stubabi.OffControlSeq); err != nil {
		return err
	}
	le.PutUint64(b[:], uint64(frame)*arch.PageSize)
	_, err = fd.WriteAt(b[:], offset+stubabi.OffControlEntries+stubabi.OffSealedOffset)
	return err
}

// control opens the file that the stub's control page is mapped from.
func (o *offender) control() (*os.File, int64, error) {
	maps, err := mappings(o.mm.PID())
	if err != nil {
		return nil, 0, err
	}
	for _, m := range maps {
		if m.start != o.s.proto.layout.Control {
			continue
		}
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			return nil, 0, err
		}
		for _, link := range links {
			var st unix.Stat_t
			if unix.Stat(link, &st) == nil && st.Ino == m.inode && strings.HasPrefix(m.name, "/memfd:") {
				f, err := os.OpenFile(link, os.O_RDWR, 0)
				return f, m.offset, err
			}
		}
	}
	return nil, 0, errors.New("the control page's file is not found")
}

// mapping is a line of /proc/PID/maps (proc_pid_maps(5)).
type mapping struct {
	start, end arch.Addr
	perms      string
	offset     int64
	inode      uint64
	name       string
}

func mappings(pid int) (list []mapping, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var m mapping
		var device string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x %s %d", &m.start, &m.end, &m.perms, &m.offset, &device, &m.inode); err != nil {
			return nil, fmt.Errorf("mapping %q: %w", lines.Text(), err)
		}
		if f := strings.Fields(lines.Text()); len(f) > 5 {
			m.name = f[5]
		}
		list = append(list, m)
	}
	return list, lines.Err()
}

// atLimit has the kernel give a program as many mappings as a process may have,
// and then take the middle page of one away.
func atLimit(name, about string, want Want, take func(o *offender, at arch.Addr)) Case {
	const at = moreAt
	return Case{
		Name: name, Promise: "P4", Want: want, About: about, work: 30 * time.Second, memory: 4 << 20,
		emit: func(c *code) {
			c.Mov(8, asm.RBX, num(at))
			for i := range int32(3) {
				c.Mov(8, asm.RAX, asm.Ptr(asm.RBX, i*arch.PageSize))
			}
			c.attempt()
			c.call(nrOwn)
			c.peek(at + arch.PageSize)
			c.done()
		},
		prepare: func(s *stage, o *offender) {
			first, err := s.mem.AllocContig(3)
			for i := range physmem.PFN(3) {
				if err == nil {
					err = o.mm.Table().Map(at+arch.Addr(i)*arch.PageSize, first+i, arch.Read)
				}
				o.frames = append(o.frames, first+i)
				s.note(first + i)
			}
			if err != nil {
				panic("BUG: " + err.Error())
			}
		},
		serve: func(s *stage, o *offender, ev *skas.Event) {
			if err := o.exhaust(); err != nil {
				panic("BUG: " + err.Error())
			}
			pfn := o.mm.Table().Lookup(at + arch.PageSize).PFN()
			take(o, at+arch.PageSize)
			err := o.mm.Revoke()
			if err == nil && s.mem.Refs(pfn) == 0 {
				err = o.give(pfn)
			}
			s.trace("taken away: %v", err)
		},
	}
}

// exhaust gives its stub as many mappings as it may have.
func (o *offender) exhaust() error {
	text, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	has, err := mappings(o.mm.PID())
	if err != nil {
		return err
	}
	has = slices.DeleteFunc(has, func(m mapping) bool { return m.name == "[vsyscall]" }) // is nobody's
	pfn := o.mm.Table().Lookup(readAt).PFN()
	for i := range limit - len(has) {
		o.s.mem.Ref(pfn)
		if err := o.mm.Table().Map(1<<32+arch.Addr(2*i*arch.PageSize), pfn, arch.Read); err != nil {
			return err
		}
	}
	return o.mm.Flush()
}
