package containment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Where the program of the start-up test leaves its registers: general ones in
// the order of their numbers, then those of SSE.
const (
	gprAt = dataAt + 0x400
	xmmAt = gprAt + 16*8
)

// saveRegisters stores what the guest has at its first instruction.
func saveRegisters(c *code) {
	for r := range asm.Reg(16) {
		c.Mov(8, asm.Ptr(asm.RSP, int32(int64(gprAt)-int64(stackTop))+8*int32(r)), r)
	}
	for x := range byte(16) { // movups [rsp+disp32], xmm
		if x >= 8 {
			c.Bytes([]byte{0x44})
		}
		c.Bytes([]byte{0x0f, 0x11, 0x84 | x&7<<3, 0x24})
		c.Bytes(binary.LittleEndian.AppendUint32(nil, uint32(int32(int64(xmmAt)-int64(stackTop))+16*int32(x))))
	}
	c.attempt()
	c.done()
}

// What start-up leaves behind gives a guest nothing: the filter is there before
// any page of the guest's is, the address space has the stub's pages and the
// guest's and nothing that the exec has made, there is one descriptor, no signal
// is blocked or ignored, and the guest's first instruction finds registers of the monitor's choice.
func TestKernelStartUpLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		testkit.Skip(t, errors.New("only root may look into a sealed stub, which is not dumpable"))
	}
	testkit.NoLeaks(t)
	onStage(t, setting{guard: guard.Sealed}, newStage, func(s *stage) {
		if err := s.plant(); err != nil {
			t.Error(err)
			return
		}
		x, frames, err := s.newMM()
		if err != nil {
			t.Error(err)
			return
		}
		if len(frames) > 0 {
			t.Errorf("the stub has frames %v of guest memory", frames)
		}
		x.Destroy()
		o := &offender{}
		// Before the first batch no guest page is there, and nothing of the
		// template is left.
		if o.mm, _, err = s.newMM(); err != nil {
			t.Error(err)
			return
		}
		shown(t, "before the guest's first page", o.mm.PID(), stubPages(s.proto.layout))
		status(t, o.mm.PID())
		o.mm.Destroy()

		if o, err = s.newOffender(&Case{emit: saveRegisters}); err != nil {
			t.Error(err)
			return
		}
		for !o.attempted {
			ev, err := s.vcpu.Run(o.mm, &o.regs)
			if err != nil {
				t.Error(err)
				return
			}
			if err := o.answer(&Case{}, &ev); err != nil || o.done {
				t.Errorf("%+v, %v", ev, err)
				return
			}
		}
		shown(t, "at the guest's first call", o.mm.PID(), stubPages(s.proto.layout,
			"10000-11000 r-xs /memfd:physmem", "20000-21000 rw-s /memfd:physmem", "21000-22000 rw-s /memfd:physmem",
			"22000-23000 rw-s /memfd:physmem", "23000-24000 rw-s /memfd:physmem", "30000-31000 r--s /memfd:physmem"))
		status(t, o.mm.PID())

		saved := make([]byte, 16*8+16*16)
		if _, err := o.mm.Table().CopyIn(saved, gprAt); err != nil {
			t.Error(err)
			return
		}
		for i := 0; i < len(saved); i += 8 {
			want := uint64(0)
			if i == 8*int(asm.RSP) {
				want = uint64(stackTop)
			}
			if v := binary.LittleEndian.Uint64(saved[i:]); v != want {
				t.Errorf("word %d of the guest's first registers is %#x, not %#x", i/8, v, want)
			}
		}
	})
}

// stubPages are the mappings of a sealed stub with those of its guest below.
func stubPages(l arch.StubLayout, guest ...string) []string {
	return append(guest,
		fmt.Sprintf("%x-%x r-xs /memfd:physmem", uint64(l.Code), uint64(l.Control)),
		fmt.Sprintf("%x-%x r--s /memfd:physmem", uint64(l.Control), uint64(l.Data)),
		fmt.Sprintf("%x-%x rw-s /memfd:physmem", uint64(l.Data), uint64(l.Stack)+uint64(l.StackPages)*arch.PageSize))
}

// shown holds a stub's mappings and descriptors against what they should be.
func shown(t *testing.T, when string, pid int, want []string) {
	t.Helper()
	maps, err := mappings(pid)
	if err != nil {
		t.Error(err)
		return
	}
	var got []string
	for _, m := range maps {
		if m.name == "[vsyscall]" && m.perms == "--xp" { // the host's, in every process, if it has one
			continue
		}
		got = append(got, fmt.Sprintf("%x-%x %s %s", uint64(m.start), uint64(m.end), m.perms, m.name))
		if strings.Contains(m.perms, "w") && strings.Contains(m.perms, "x") {
			t.Errorf("%s: %s is writable code", when, got[len(got)-1])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: mappings (-want +got)\n%s", when, diff)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) != 1 || filepath.Base(fds[0]) != "0" {
		t.Errorf("%s: descriptors %v, %v", when, fds, err)
		return
	}
	if to, err := os.Readlink(fds[0]); err != nil || !strings.HasPrefix(to, "/memfd:physmem") {
		t.Errorf("%s: descriptor 0 is %s, %v", when, to, err)
	}
	for _, file := range []string{"environ", "cmdline"} { // on the stack that the exec made
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)); err == nil && len(text) > 0 {
			t.Errorf("%s: %s is %q", when, file, text)
		}
	}
}

// status holds what a stub has inherited or set against what it should be.
func status(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
		return
	}
	field := func(text []byte, name string) string {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":\t")
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	// What this process was started to ignore its children ignore, too: glibc's
	// posix_spawn, which make uses, has them ignore signal 32.
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
		return
	}
	caught := bit(unix.SIGSEGV) | bit(unix.SIGSYS) | bit(unix.SIGALRM) | bit(unix.SIGTRAP) | bit(unix.SIGILL) | bit(unix.SIGFPE) | bit(unix.SIGBUS)
	for name, want := range map[string]string{
		"Threads": "1", "NoNewPrivs": "1", "Seccomp": "2",
		"SigBlk": fmt.Sprintf("%016x", 0), "SigIgn": field(own, "SigIgn"), "SigCgt": fmt.Sprintf("%016x", caught),
	} {
		if got := field(text, name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	var core unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &core); err != nil || core.Max != 0 {
		t.Errorf("core limit %+v, %v", core, err)
	}
}
