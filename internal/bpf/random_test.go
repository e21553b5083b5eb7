package bpf_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	. "goskas/internal/bpf"
	"goskas/internal/probe"
	"goskas/internal/sys"
	"goskas/internal/testkit"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// codes are the instructions of seccomp programs, those that lead on first.
var codes = func() (all []uint16) {
	for code := range uint16(0x100) {
		if Known(code) {
			all = append(all, code)
		}
	}
	return all
}()

// interesting makes equal comparisons and carries likely.
func interesting(r *rand.Rand) uint32 {
	switch r.IntN(4) {
	case 0:
		return r.Uint32()
	case 1:
		return ^uint32(0) >> r.IntN(32)
	case 2:
		return 1 << r.IntN(32)
	}
	return uint32(r.IntN(20))
}

// randomBody makes n instructions that Check accepts and that end by falling
// through; jumps stay inside or reach just behind. Scratch words are written
// before anything else.
func randomBody(r *rand.Rand, n int) []unix.SockFilter {
	p := []unix.SockFilter{{Code: unix.BPF_ST, K: 0}, {Code: unix.BPF_STX, K: 1}}
	for len(p) < n {
		left := n - len(p) // where this instruction's target may lie
		in := unix.SockFilter{Code: codes[r.IntN(len(codes))], K: interesting(r)}
		switch in.Code & ClassMask {
		case unix.BPF_RET:
			continue
		case unix.BPF_JMP:
			in.Jt, in.Jf = uint8(r.IntN(left)), uint8(r.IntN(left))
			if in.Code == unix.BPF_JMP|unix.BPF_JA {
				in.Jt, in.Jf, in.K = 0, 0, uint32(r.IntN(left))
			}
		case unix.BPF_LD, unix.BPF_LDX:
			switch in.Code &^ ClassMask {
			case unix.BPF_ABS:
				in.K = 4 * uint32(r.IntN(DataSize/4))
			case unix.BPF_MEM:
				in.K = uint32(r.IntN(2))
			}
		case unix.BPF_ST, unix.BPF_STX:
			in.K = uint32(r.IntN(ScratchWords))
		case unix.BPF_ALU:
			if op := in.Code & OpMask; in.Code&unix.BPF_X == 0 && (op == unix.BPF_LSH || op == unix.BPF_RSH) {
				in.K %= 32
			} else if op == unix.BPF_DIV {
				in.K |= 1
			}
		}
		p = append(p, in)
	}
	return p
}

func randomData(r *rand.Rand) *Data {
	d := &Data{NR: interesting(r), Arch: interesting(r), IP: uint64(interesting(r))<<32 | uint64(interesting(r))}
	for i := range d.Args {
		d.Args[i] = uint64(interesting(r))<<32 | uint64(interesting(r))
	}
	return d
}

// The interpreter of golang.org/x/net/bpf reads words of packets, big endian;
// given the data that way it has to agree. It lacks some instructions that
// seccomp has, misreads one,, and has its own idea of shifts by more than 31.
func TestRandomProgramsAgainstPacketFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ran := 0
	for range 20000 {
		p := randomBody(r, 4+r.IntN(40))
		p = append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})
		if err := Check(p); err != nil {
			t.Fatal(err)
		}
		var raw []bpf.Instruction
		comparable := true
		for _, in := range p {
			ins := bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}.Disassemble()
			_, opaque := ins.(bpf.RawInstruction)
			_, negate := ins.(bpf.NegateA)
			shift, isX := ins.(bpf.ALUOpX)
			loadLen := in.Code == unix.BPF_LDX|unix.BPF_LEN // taken for the load into A
			if opaque || negate || loadLen || isX && (shift.Op == bpf.ALUOpShiftLeft || shift.Op == bpf.ALUOpShiftRight) {
				comparable = false
			}
			raw = append(raw, ins)
		}
		if !comparable {
			continue
		}
		ran++
		vm, err := bpf.NewVM(raw)
		if err != nil {
			t.Fatal(err)
		}
		d := randomData(r)
		var packet []byte
		for w := Word(0); w < DataSize; w += 4 {
			packet = binary.BigEndian.AppendUint32(packet, WordOf(d, w))
		}
		want, err := vm.Run(packet)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Run(p, d)
		if err != nil {
			t.Fatal(err)
		}
		if uint32(want) != uint32(got) {
			program, _ := Decode(p)
			t.Fatalf("%#x, packet filter says %#x\n%+v\n%s", uint32(got), want, *d, program.Text())
		}
	}
	if ran < 1000 {
		t.Errorf("only %d programs could be compared", ran)
	}
}

// magic system call numbers belong to no Linux system call; each random program
// looks at one of its own.
const magic = 100000

// guarded makes a filter that runs p for one system call number only. Its
// errors come back as the call's errno.
func guarded(nr uint32, p []unix.SockFilter) []unix.SockFilter {
	return append([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(NR)},
		{Code: unix.BPF_JMP | unix.BPF_JEQ, K: nr, Jt: 1},
		{Code: unix.BPF_RET, K: uint32(Allow)},
	}, p...)
}

// onThread runs f on a thread of its own that may do as it likes with filters:
// it ends with f.
func onThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends here
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Errorf("no_new_privs: %v", err)
			return
		}
		f()
	}()
	<-done
}

// The kernel gives the interpreter's answers to real system calls.
func TestKernelRandomPrograms(t *testing.T) {
	testkit.Need(t, probe.SeccompTrap)
	r := rand.New(rand.NewPCG(3, 4))
	const programs, calls = 150, 20
	called := 0
	for range 4 {
		onThread(t, func() {
			for i := range programs {
				nr := uint32(magic + i)
				p := guarded(nr, append(randomBody(r, 4+r.IntN(40)),
					unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND, K: 0x7ff}, // any errno
					unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_OR, K: unix.SECCOMP_RET_ERRNO},
					unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A}))
				if _, err := sys.SeccompFilter(0, p); err != nil {
					program, _ := Decode(p)
					t.Errorf("kernel refuses a program that Check accepts (%v): %v\n%s", Check(p), err, program.Text())
					return
				}
				for range calls {
					d := randomData(r)
					d.NR, d.Arch = nr, unix.AUDIT_ARCH_X86_64
					d.IP = 0
					want, err := Run(p, d)
					if err != nil {
						t.Error(err)
						return
					}
					if want == KillThread || usesIP(p) {
						continue // a division by X = 0; an address that we do not choose
					}
					called++
					_, _, errno := unix.RawSyscall6(uintptr(nr), uintptr(d.Args[0]), uintptr(d.Args[1]),
						uintptr(d.Args[2]), uintptr(d.Args[3]), uintptr(d.Args[4]), uintptr(d.Args[5]))
					if Errno(errno) != want {
						program, _ := Decode(p)
						t.Errorf("%v, the kernel gives errno %d\n%+v\n%s", want, errno, *d, program.Text())
						return
					}
				}
			}
		})
	}
	if called < 1000 {
		t.Errorf("only %d calls could be made", called)
	}
}

func usesIP(p []unix.SockFilter) bool {
	for _, in := range p {
		if in.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && Word(in.K)&^4 == Word(IP) {
			return true
		}
	}
	return false
}

// Check accepts what the kernel accepts: valid programs with something changed.
func TestKernelCheck(t *testing.T) {
	testkit.Need(t, probe.SeccompTrap)
	r := rand.New(rand.NewPCG(5, 6))
	accepted, refused := 0, 0
	for range 10 {
		onThread(t, func() {
			for i := range 300 {
				p := append(randomBody(r, 3+r.IntN(10)), unix.SockFilter{Code: unix.BPF_RET, K: uint32(Allow)})
				for range 1 + r.IntN(2) {
					mutate(r, p)
				}
				p = guarded(uint32(magic+i), p)
				_, err := sys.SeccompFilter(0, p)
				if err != nil && !errors.Is(err, unix.EINVAL) {
					t.Errorf("seccomp: %v", err)
					return
				}
				if ours := Check(p); (ours == nil) != (err == nil) {
					program := &Program{Insns: p}
					t.Errorf("Check says %v, the kernel %v\n%s", ours, err, program.Text())
					return
				}
				if err == nil {
					accepted++
				} else {
					refused++
				}
			}
		})
	}
	if accepted < 100 || refused < 100 {
		t.Errorf("%d accepted, %d refused: the sample is lopsided", accepted, refused)
	}
}

func mutate(r *rand.Rand, p []unix.SockFilter) {
	in := &p[r.IntN(len(p))]
	switch r.IntN(6) {
	case 0:
		in.Code = uint16(r.IntN(0x100))
	case 1:
		in.Code = codes[r.IntN(len(codes))]
	case 2:
		in.K = uint32(r.IntN(80))
	case 3:
		in.Jt = uint8(r.IntN(16))
	case 4:
		in.Jf = uint8(r.IntN(16))
	case 5:
		in.Code = unix.BPF_RET
	}
}

// Whatever the bytes: Check, Decode, Text and Run end without a panic, and what
// Check accepts runs to a return.
func FuzzProgram(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		f.Add(encode(append(randomBody(r, 20), unix.SockFilter{Code: unix.BPF_RET | unix.BPF_A})), uint64(7), uint64(1<<40))
	}
	f.Add([]byte{}, uint64(0), uint64(0))
	f.Add([]byte{0x28, 0, 0, 0, 0, 0, 0, 0}, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, head, arg uint64) {
		var p []unix.SockFilter
		for ; len(b) >= 8; b = b[8:] {
			p = append(p, unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])})
		}
		d := &Data{NR: uint32(head), Arch: uint32(head >> 32), IP: arg, Args: [6]uint64{arg, head, arg, head, arg, head}}
		checked := Check(p)
		_, err := Run(p, d)
		if checked == nil && err != nil {
			t.Errorf("checked program: %v", err)
		}
		if err != nil && !errors.Is(err, ErrProgram) {
			t.Errorf("error %v", err)
		}
		program, err := Decode(p)
		if checked == nil && err != nil {
			t.Errorf("checked program: %v", err)
		}
		if (err == nil) != (program != nil) {
			t.Errorf("program %v with error %v", program, err)
		}
		if program != nil {
			program.Text()
		}
	})
}

func encode(p []unix.SockFilter) (b []byte) {
	for _, in := range p {
		b = binary.LittleEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.LittleEndian.AppendUint32(b, in.K)
	}
	return b
}
