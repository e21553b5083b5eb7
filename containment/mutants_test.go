package containment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/internal/bpf"
	"goskas/internal/testkit"
	"goskas/skas"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// branch is a conditional jump of the stub: the label before it, and its number
// from there on. The labels of nested frames are "first" for those that a signal
// in stub code makes and "second" for those that come on top.
type branch struct {
	behind string
	n      int
}

// place is where a branch is in the code.
type place struct {
	branch
	off, length int
}

// branches lists the conditional jumps of a stub in the order of the code.
func branches(t *testing.T, s *arch.Stub) (list []place) {
	t.Helper()
	labels := slices.Clone(s.Labels)
	slices.SortStableFunc(labels, func(a, b arch.Label) int { return int(a.Offset) - int(b.Offset) })
	first := make(map[string]bool) // by label: it has a way back of its own
	for i, l := range labels {
		if strings.HasPrefix(l.Name, "back-") {
			first[labels[i-1].Name] = true
		}
	}
	behind, n := "", 0
	for off := 0; off < len(s.Code); {
		for len(labels) > 0 && int(labels[0].Offset) == off {
			behind, n = labels[0].Name, 0
			if strings.HasPrefix(behind, "nested-") {
				behind = "second"
				if first[labels[0].Name] {
					behind = "first"
				}
			}
			labels = labels[1:]
		}
		in, err := x86asm.Decode(s.Code[off:], 64)
		if err != nil {
			t.Fatal(err)
		}
		// Conditional jumps have four bytes of distance here.
		if s.Code[off] == 0x0f && s.Code[off+1]&0xf0 == 0x80 {
			n++
			list = append(list, place{branch{behind, n}, off, in.Len})
		}
		off += in.Len
	}
	return list
}

// nops fills a gap.
func nops(code []byte) {
	for i := range code {
		code[i] = 0x90
	}
}

// without is a stub that lacks a branch: it goes on whatever it has found. Something
// else may stand there.
func without(t *testing.T, b branch, with ...byte) arch.Arch {
	return otherStub{amd64.New(), func(_ arch.StubLayout, s *arch.Stub) error {
		s.Code = slices.Clone(s.Code)
		found := false
		for _, p := range branches(t, s) {
			if p.branch == b {
				found = true
				gap := s.Code[p.off : p.off+p.length]
				nops(gap[copy(gap, with):])
			}
		}
		if !found {
			return fmt.Errorf("no branch %v in the stub", b)
		}
		return nil
	}}
}

// replaced is a stub in which some bytes behind a label stand for others.
func replaced(label string, old, with []byte) arch.Arch {
	return otherStub{amd64.New(), func(_ arch.StubLayout, s *arch.Stub) error {
		s.Code = slices.Clone(s.Code)
		off, ok := s.Label(label)
		at := bytes.Index(s.Code[off:], old)
		if !ok || at < 0 || len(with) > len(old) {
			return fmt.Errorf("nothing to replace behind %q", label)
		}
		gap := s.Code[off:][at : at+len(old)]
		nops(gap[copy(gap, with):])
		return nil
	}}
}

// mapAtWake is a stub whose filter takes the wake for the mmap as well.
func mapAtWake(l arch.StubLayout, s *arch.Stub) error {
	past, _ := s.Label("past-wake")
	return widenFilter(l, s, func(b *bpf.Builder, rest string) {
		b.JumpEqual(bpf.IP, uint64(l.Code)+past, bpf.Next, rest)
		b.Load(bpf.NR)
		b.Jump(bpf.Eq, unix.SYS_MMAP, bpf.Next, rest)
		b.Ret(bpf.Allow)
	})
}

// mutant is a sealed stub with something wrong, and what that lets happen.
type mutant struct {
	lacks branch // the check that is missing, if it is that
	what  string // in words
	other arch.Arch
	// breach is the case that breaches this stub and not the whole one.
	breach string
	stall  skas.Stall // for want of the second line behind the stub
	// why there is no such case, and what the check is there for.
	why string
}

func mutants(t *testing.T) []mutant {
	lacks := func(behind string, n int, what, breach, why string) mutant {
		b := branch{behind, n}
		return mutant{lacks: b, what: what, other: without(t, b), breach: breach, why: why}
	}
	late := func(m mutant) mutant { m.stall = skas.StallOff; return m }
	const (
		harmless = "an unmapping call gives nobody access to anything, and the filter keeps it off the stub's pages: the stub harms only itself. The check is there so that a batch that has run is the batch that was published, whatever entered it."
		honest   = "it steers stub code that nobody has entered; guest code can go where it leads by itself."
	)
	return []mutant{
		lacks("handler", 1, "a signal frame that is not the guest's is told apart", "trap-on-stack", ""),
		lacks("handler", 2, "a signal in stub code is no report", "trap-behind-forgery", ""),
		lacks("past-wait", 1, "the wait goes on until the word says so", "",
			honest+" A stub that goes on too early runs a batch that is live, or none, and the guest runs while the monitor takes it for stopped: any guest can have that by forging a report, and is caught in the same way."),
		lacks("batch", 1, "the batch has an end", "", honest+" The check behind the call knows the end, too."),
		lacks("batch", 2, "unmapping entries are not mapped", "", honest+" The check behind the call knows the kind, too."),

		lacks("past-mmap", 1, "mmap: the call has succeeded", "remap-at-limit", ""),
		lacks("past-mmap", 2, "mmap: the batch is not being written", "check-torn", ""),
		lacks("past-mmap", 3, "mmap: the entry is one of the batch", "check-own-entry", ""),
		lacks("past-mmap", 4, "mmap: the address", "check-address", ""),
		lacks("past-mmap", 5, "mmap: the length", "check-length", ""),
		lacks("past-mmap", 6, "mmap: the access", "check-access", ""),
		lacks("past-mmap", 7, "mmap: the frame", "check-offset", ""),
		lacks("past-mmap", 8, "mmap: the kind", "",
			"an unmapping entry has no access and frame 0, and the check compares these: what passes is a mapping of frame 0 without any access. The check is there so that this does not rest on two zeros."),
		lacks("past-mmap", 9, "mmap: the batch has not changed meanwhile", "check-rewritten", ""),

		lacks("past-munmap", 1, "munmap: the call has succeeded", "unmap-at-limit", ""),
		lacks("past-munmap", 2, "munmap: the batch is not being written", "", harmless),
		lacks("past-munmap", 3, "munmap: the entry is one of the batch", "", harmless),
		lacks("past-munmap", 4, "munmap: the address", "", harmless),
		lacks("past-munmap", 5, "munmap: the length", "", harmless),
		lacks("past-munmap", 6, "munmap: the kind", "", harmless),
		lacks("past-munmap", 7, "munmap: the batch has not changed meanwhile", "", harmless),

		lacks("ran", 1, "a batch that runs alone is reported", "", honest),
		lacks("resume", 1, "a tick that was noted is reported", "", honest+" A tick that is lost costs the stub its life by its CPU time."),
		lacks("resume", 2, "bases are set when they have changed", "", honest),

		lacks("nested", 1, "nothing but a tick comes in stub code", "",
			"stub code goes on exactly where it was, so that the check is made all the same; a fault comes again and again, and the stub dies for the tick that it does not report. The check is there to be done with it at once."),
		late(lacks("first", 1, "a tick in guest code is not swallowed", "spin-on-stack", "")),
		lacks("first", 2, "a tick before the check goes back to it", "tick-behind-map", ""),
		lacks("first", 3, "a tick on the way to die goes back to it", "tick-at-die", ""),
		late(lacks("second", 1, "a tick in guest code is not swallowed, from a lower frame", "spin-below-stack", "")),

		{what: "a frame at another place is nobody's", breach: "tick-elsewhere", other: otherStub{amd64.New(), func(_ arch.StubLayout, s *arch.Stub) error {
			// The jump to die behind the last comparison with a frame's place.
			s.Code = slices.Clone(s.Code)
			for _, l := range s.Labels {
				if strings.HasPrefix(l.Name, "nested-") {
					nops(s.Code[l.Offset-5 : l.Offset])
					return nil
				}
			}
			return fmt.Errorf("no nested frames")
		}}},
		{what: "an entry's number has 32 bits", breach: "check-wrap", // imul rax, rbx, 32 for mov eax, ebx; shl rax, 5
			other: replaced("past-mmap", []byte{0x89, 0xd8, 0x48, 0xc1, 0xe0, 0x05}, []byte{0x48, 0x6b, 0xc3, 0x20})},
		{what: "nothing is pushed before the check is made", breach: "map-under-stack", // push rax; pop rax
			other: without(t, branch{"past-mmap", 1}, 0x50, 0x58)},
		{what: "each call has one site", breach: "map-at-wake", other: otherStub{amd64.New(), mapAtWake}},
	}
}

// Every check in the sealed stub's code is needed: for each there is a case that
// breaches a stub without it, and not the whole one, or a reason why there is
// none. So are the rules that have no branch of their own.
func TestKernelEveryCheckMatters(t *testing.T) {
	testkit.NoLeaks(t)
	in, err := skas.Inspect(amd64.New(), guard.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	all := mutants(t)
	known := make(map[branch]bool)
	for _, m := range all {
		known[m.lacks] = true
		if (m.breach == "") == (m.why == "") {
			t.Errorf("%v (%s) has to have a case or a reason", m.lacks, m.what)
		}
	}
	for _, p := range branches(t, in.Stub) {
		if b := p.branch; !known[b] && !steers(b) {
			t.Errorf("the branch at %#x, %v, is not in the table", p.off, b)
		}
	}
	cases := slices.Concat(Cases(), hostCases())
	whole := make(map[string]bool) // held against the whole stub
	for _, m := range all {
		if m.breach == "" {
			continue
		}
		i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == m.breach })
		if i < 0 {
			t.Errorf("no case %s", m.breach)
			continue
		}
		c := cases[i]
		byHost := i >= len(Cases())
		t.Run(m.breach, func(t *testing.T) {
			if byHost && os.Geteuid() != 0 {
				testkit.Skip(t, errors.New("only root may look into a sealed stub, which is not dumpable"))
			}
			if !whole[m.breach] {
				whole[m.breach] = true
				if r := c.runWith(t, setting{stall: m.stall}, nil); r.Err != "" || r.Verdict != Killed {
					t.Errorf("the whole stub: %s: %s%s", r.Verdict, r.Why, r.Err)
				}
			}
			// Some of these stubs are no good for the innocent either, and
			// some depend on a tick that comes in time.
			var r Result
			for range 5 {
				if r = c.runWith(t, setting{arch: m.other, stall: m.stall}, nil); r.Verdict == Breached {
					return
				}
			}
			t.Errorf("not needed: %s: %s: %s%s", m.what, r.Verdict, r.Why, r.Err)
		})
	}
}

// steers says of a branch that it only finds the frame that a signal has made.
func steers(b branch) bool { return b.behind == "nested" && b.n > 1 }
