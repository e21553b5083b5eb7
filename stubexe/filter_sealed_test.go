package stubexe

import (
	"path/filepath"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/internal/bpf"
	"goskas/internal/testkit"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// sealedLayout is that of a host with AVX-512, whatever this one has.
var sealedLayout = arch.StubLayout{Code: 0x7fffffff8000, Control: 0x7fffffff9000, Data: 0x7fffffffa000, DataPages: 1,
	Stack: 0x7fffffffb000, StackPages: 4}

func sealedStub(t testing.TB, bases bool) *arch.Stub {
	t.Helper()
	s, err := amd64.New().WithBases(bases).Sealed(sealedLayout)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sealedSpec says in plain words what the filter of a sealed stub answers.
func sealedSpec(s *arch.Stub, l arch.StubLayout, d *bpf.Data) bpf.Action {
	code := uint64(l.Code)
	if d.IP < code || d.IP >= code+arch.PageSize {
		return templateSpec(s, l, d)
	}
	if d.Arch != unix.AUDIT_ARCH_X86_64 {
		return bpf.KillProcess
	}
	past := func(name string) bool {
		off, ok := s.Label("past-" + name)
		return ok && d.IP == code+off
	}
	futex := uint64(l.Data) + stubabi.OffSealedFutex
	inGuest := d.Args[0] < SealedGuestEnd && d.Args[1] <= stubabi.MaxSealedLength
	ok := false
	switch {
	case past("wake"):
		ok = d.NR == unix.SYS_FUTEX && d.Args[0] == futex && d.Args[1] == 1 && d.Args[2] == 1
	case past("wait"):
		ok = d.NR == unix.SYS_FUTEX && d.Args[0] == futex && d.Args[1] == 0 && d.Args[2] == 1 && d.Args[3] == 0
	case past("mmap"):
		ok = d.NR == unix.SYS_MMAP && inGuest && d.Args[2] <= 7 && d.Args[3] == stubabi.SealedMapFlags && d.Args[4] == stubabi.SealedMemFD
	case past("munmap"):
		ok = d.NR == unix.SYS_MUNMAP && inGuest
	case past("set-fs"):
		ok = d.NR == unix.SYS_ARCH_PRCTL && d.Args[0] == 0x1002
	case past("set-gs"):
		ok = d.NR == unix.SYS_ARCH_PRCTL && d.Args[0] == 0x1001
	}
	if ok {
		return bpf.Allow
	}
	return bpf.KillProcess
}

// templateSpec is the same for what is not in the stub's code page: one more page
// has calls that are allowed.
func templateSpec(s *arch.Stub, l arch.StubLayout, d *bpf.Data) bpf.Action {
	if d.Arch != unix.AUDIT_ARCH_X86_64 {
		return bpf.Trap
	}
	own := func(at arch.Addr, pages int, prot, fd uint64) bool {
		return d.NR == unix.SYS_MMAP && [5]uint64(d.Args[:5]) == [5]uint64{uint64(at), uint64(pages) * arch.PageSize, prot, 0x11, fd}
	}
	for name, ok := range map[string]bool{
		"clone":       d.NR == unix.SYS_CLONE && d.Args[0] == 0x8011 && d.Args[1] == 0,
		"pdeathsig":   d.NR == unix.SYS_PRCTL && d.Args[0] == 1 && d.Args[1] == 9,
		"getppid":     d.NR == unix.SYS_GETPPID,
		"map-control": own(l.Control, 1, 1, 4),
		"map-data":    own(l.Data, 1+l.StackPages, 3, 5),
		"close":       d.NR == unix.SYS_CLOSE_RANGE && [3]uint64(d.Args[:3]) == [3]uint64{1, 0xffffffff, 0},
		"leave":       d.NR == unix.SYS_MUNMAP && d.Args[0] == uint64(l.Code)-arch.PageSize && d.Args[1] == arch.PageSize,
		"exit":        d.NR == unix.SYS_EXIT,
	} {
		off, found := s.TemplateLabel("past-" + name)
		switch {
		case !found || d.IP != uint64(l.Code)-arch.PageSize+off:
		case ok:
			return bpf.Allow
		default:
			return bpf.KillProcess
		}
	}
	return bpf.Trap
}

// around are values next to v, and those that differ from it in one half only.
func around(v uint64) []uint64 {
	return []uint64{v, v - 1, v + 1, v &^ 0xffffffff, v & 0xffffffff, v ^ 1<<32, v ^ 1<<63, v ^ 1<<31}
}

// sealedCalls are, by site, arguments that the filter allows.
var sealedCalls = map[string]bpf.Data{
	"wake":   {NR: unix.SYS_FUTEX, Args: [6]uint64{uint64(sealedLayout.Data) + stubabi.OffSealedFutex, 1, 1}},
	"wait":   {NR: unix.SYS_FUTEX, Args: [6]uint64{uint64(sealedLayout.Data) + stubabi.OffSealedFutex, 0, 1, 0}},
	"mmap":   {NR: unix.SYS_MMAP, Args: [6]uint64{0x10000, 0x1000, 3, stubabi.SealedMapFlags, stubabi.SealedMemFD, 0x5000}},
	"munmap": {NR: unix.SYS_MUNMAP, Args: [6]uint64{0x10000, 0x1000}},
	"set-fs": {NR: unix.SYS_ARCH_PRCTL, Args: [6]uint64{0x1002, 0x10000}},
	"set-gs": {NR: unix.SYS_ARCH_PRCTL, Args: [6]uint64{0x1001, 0x10000}},

	"clone":       {NR: unix.SYS_CLONE, Args: [6]uint64{stubabi.TemplateCloneFlags}},
	"pdeathsig":   {NR: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL)}},
	"getppid":     {NR: unix.SYS_GETPPID},
	"map-control": {NR: unix.SYS_MMAP, Args: [6]uint64{uint64(sealedLayout.Control), arch.PageSize, 1, 0x11, stubabi.SealedReadFD, 0x5000}},
	"map-data": {NR: unix.SYS_MMAP, Args: [6]uint64{uint64(sealedLayout.Data), uint64(1+sealedLayout.StackPages) * arch.PageSize,
		3, 0x11, stubabi.SealedWriteFD, 0x6000}},
	"close": {NR: unix.SYS_CLOSE_RANGE, Args: [6]uint64{1, 0xffffffff}},
	"leave": {NR: unix.SYS_MUNMAP, Args: [6]uint64{uint64(sealedLayout.Template()), arch.PageSize}},
	"exit":  {NR: unix.SYS_EXIT},
}

// The filter does what is specified: for every place, every number, every
// architecture, and every argument at its limits.
func TestSealedFilterAgainstItsSpecification(t *testing.T) {
	audits := []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, 0, unix.AUDIT_ARCH_X86_64 ^ 1<<31}
	var numbers []uint32
	for nr := range uint32(600) {
		numbers = append(numbers, nr, nr|1<<30, -nr, nr|1<<31)
	}
	limits := []uint64{0, 1, 2, 3, 7, 8, 9, 0x1000, 0x1001, 0x1002, stubabi.SealedMapFlags, 1 << 30, 1<<30 + 1, 1 << 32, ^uint64(0)}
	for _, v := range []uint64{SealedGuestEnd, stubabi.MaxSealedLength, uint64(sealedLayout.Code), uint64(sealedLayout.Data), uint64(sealedLayout.Template())} {
		limits = append(limits, around(v)...)
	}
	for _, bases := range []bool{false, true} {
		s := sealedStub(t, bases)
		filter, err := SealedFilter(sealedLayout, s, unix.AUDIT_ARCH_X86_64)
		if err != nil {
			t.Fatal(err)
		}
		asked, allowed := 0, 0
		ask := func(d bpf.Data) {
			got, err := bpf.Run(filter, &d)
			if err != nil {
				t.Fatal(err)
			}
			want := sealedSpec(s, sealedLayout, &d)
			asked++
			if want == bpf.Allow {
				allowed++
			}
			if got != want {
				t.Fatalf("bases %v: %+v: %v, want %v", bases, d, got, want)
			}
		}
		code := uint64(sealedLayout.Code)
		var places []uint64
		for off := range uint64(2 * arch.PageSize) {
			places = append(places, uint64(sealedLayout.Template())+off)
		}
		for _, a := range []uint64{code, code + arch.PageSize, uint64(sealedLayout.Data), SealedGuestEnd, 0x400000, 0, ^uint64(0)} {
			places = append(places, around(a)...)
		}
		past := make(map[string]uint64)
		for _, l := range s.Labels {
			past[l.Name] = code + l.Offset
		}
		for _, l := range s.TemplateLabels {
			past[l.Name] = uint64(sealedLayout.Template()) + l.Offset
		}
		for _, at := range past {
			places = append(places, around(at)...)
		}
		// Every place, with each site's call.
		for _, ip := range places {
			for _, d := range sealedCalls {
				for _, audit := range audits {
					d.IP, d.Arch = ip, audit
					ask(d)
				}
			}
		}
		for name := range sealedCalls {
			at, ok := past["past-"+name]
			if !ok {
				continue
			}
			for _, d := range sealedCalls {
				d.IP = at
				// Every number at each site.
				for _, d.Arch = range audits {
					for _, d.NR = range numbers {
						ask(d)
					}
				}
			}
			// Every argument at its limits, and every two of them.
			d := sealedCalls[name]
			d.IP, d.Arch = at, unix.AUDIT_ARCH_X86_64
			good := d.Args
			for i := range d.Args {
				for j := range i + 1 {
					for _, a := range append(around(good[i]), limits...) {
						for _, b := range append(around(good[j]), limits...) {
							d.Args = good
							d.Args[i], d.Args[j] = a, b
							ask(d)
						}
					}
				}
			}
		}
		if allowed == 0 || allowed > asked/2 {
			t.Errorf("bases %v: of %d calls %d are allowed", bases, asked, allowed)
		}
		t.Logf("bases %v: %d calls, %d allowed", bases, asked, allowed)
	}
}

// The filter shows in review as changed instructions.
func TestSealedFilterGolden(t *testing.T) {
	for name, bases := range map[string]bool{"sealed-call": false, "sealed-bases": true} {
		text, err := SealedFilterText(sealedLayout, sealedStub(t, bases), unix.AUDIT_ARCH_X86_64)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Golden(t, filepath.Join("testdata", name+".golden"), text)
	}
}
