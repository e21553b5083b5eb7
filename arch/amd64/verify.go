package amd64

import (
	"cmp"
	"fmt"
	"slices"

	"goskas/arch"
	"goskas/internal/bpf"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// Finding is a place in a sealed stub's code page that does not keep a rule.
type Finding struct {
	Offset int // in the page
	Text   string
}

func (f Finding) String() string { return fmt.Sprintf("offset %#x: %s", f.Offset, f.Text) }

// Proof is what Verify has looked at, and what it has found.
type Proof struct {
	Checked  []string
	Findings []Finding
}

// Verify holds a sealed stub against the rules that its safety rests on. It
// knows the finished bytes, the declared places (labels), the layout and the
// filter, and nothing of how the bytes came about: instructions are decoded
// anew, and each stretch of code is run on symbolic values from every place at
// which it can be entered.
//
// Guest code may jump anywhere with any registers, so there is no rule for what
// happens before a mapping call. The rules are for what follows it: nothing is
// touched but the stub's own pages until the call has been found in the live
// batch, no signal in between leads around that, and whoever is woken from the
// wait runs the whole batch before anything else.
func (a *Arch) Verify(s *arch.Stub, l arch.StubLayout, filter []unix.SockFilter) Proof {
	v := &verifier{stub: s, lay: l, xsize: a.xsize, features: a.features, filter: filter, seen: make(map[Finding]bool), terms: make(map[term]*term)}
	v.fresh = uint64(s.Sealed.MContext) - ucMCtx
	v.decode()
	if v.places() && len(v.proof.Findings) == 0 {
		v.checkBlocks()
		v.checkMapping()
		v.checkHandler()
		v.checkResume()
		v.checkDie()
	}
	if len(v.proof.Findings) == 0 {
		v.checkHidden()
	}
	if len(v.proof.Findings) == 0 {
		v.checkTemplate()
	}
	slices.SortStableFunc(v.proof.Findings, func(a, b Finding) int { return cmp.Compare(a.Offset, b.Offset) })
	return v.proof
}

type verifier struct {
	stub     *arch.Stub
	lay      arch.StubLayout
	xsize    int
	features uint64 // components of the extended state
	filter   []unix.SockFilter
	fresh    uint64 // the frame of a signal that stopped guest code

	insns   []insn
	at      map[int]int // index in insns by offset
	leaders []int       // offsets at which code can be entered
	sites   map[int]string
	terms   map[term]*term
	// at which states a site is reached from the batch's loop
	batch map[string]*state

	seen  map[Finding]bool
	proof Proof
}

type insn struct {
	off int
	x86asm.Inst
}

func (i insn) end() int { return i.off + i.Len }

func (v *verifier) find(off int, format string, args ...any) {
	f := Finding{off, fmt.Sprintf(format, args...)}
	if !v.seen[f] {
		v.seen[f] = true
		v.proof.Findings = append(v.proof.Findings, f)
	}
}

func (v *verifier) checked(format string, args ...any) {
	v.proof.Checked = append(v.proof.Checked, fmt.Sprintf(format, args...))
}

// allowed are the operations that the stub may consist of. None of them uses
// the stack but iretq, and none goes to a computed place.
var allowed = []x86asm.Op{
	x86asm.MOV, x86asm.LEA, x86asm.CMP, x86asm.TEST, x86asm.AND, x86asm.XOR, x86asm.ADD, x86asm.SUB, x86asm.SHL, x86asm.INC,
	x86asm.JMP, x86asm.JE, x86asm.JNE, x86asm.JB, x86asm.JAE,
	x86asm.SYSCALL, x86asm.IRETQ, x86asm.UD2, x86asm.XRSTOR64,
	x86asm.RDFSBASE, x86asm.RDGSBASE, x86asm.WRFSBASE, x86asm.WRGSBASE,
}

// decode takes the code apart from its first byte to its last. What the decoder
// does not know, or knows only in part (it gives a cut instruction as a lone
// prefix), is a finding, and ends the proof.
func (v *verifier) decode() {
	code := v.stub.Code
	if len(code) > arch.PageSize {
		v.find(arch.PageSize, "the code is longer than its page")
		return
	}
	v.at = make(map[int]int)
	for off := 0; off < len(code); {
		in, err := x86asm.Decode(code[off:], 64)
		if err != nil || in.Op == 0 || in.Len == 0 {
			v.find(off, "no instruction that the decoder knows")
			return
		}
		v.at[off] = len(v.insns)
		v.insns = append(v.insns, insn{off, in})
		if !slices.Contains(allowed, in.Op) {
			v.find(off, "%v is not an instruction of the stub", in.Op)
		}
		for _, p := range in.Prefix {
			switch {
			case p == 0 || p.IsREX():
			case p&0xff == x86asm.PrefixREP && isBaseOp(in.Op): // part of its opcode
			default:
				v.find(off, "%v with the prefix %v", in.Op, p)
			}
		}
		off += in.Len
	}
	n := len(v.insns)
	if n == 0 {
		v.find(0, "no code")
		return
	}
	if !ends(v.insns[n-1].Op) {
		v.find(v.insns[n-1].off, "the code runs on behind its last instruction")
	}
	v.checked("%d instructions in %d bytes, %d kinds allowed: no push, pop, call, ret, string or computed jump", n, len(code), len(allowed))
}

func isBaseOp(op x86asm.Op) bool {
	return op == x86asm.RDFSBASE || op == x86asm.RDGSBASE || op == x86asm.WRFSBASE || op == x86asm.WRGSBASE
}

// ends reports an instruction that the next one does not follow.
func ends(op x86asm.Op) bool { return op == x86asm.JMP || op == x86asm.IRETQ || op == x86asm.UD2 }

// sealedNumbers are the calls that a sealed stub may make, by the names of their
// sites. die is no site of the filter: it kills there.
func (v *verifier) numbers() map[string]uint64 {
	n := map[string]uint64{
		"wake": unix.SYS_FUTEX, "wait": unix.SYS_FUTEX, "mmap": unix.SYS_MMAP, "munmap": unix.SYS_MUNMAP,
		"die": unix.SYS_EXIT_GROUP,
	}
	if !v.stub.Sealed.Bases {
		n["set-fs"], n["set-gs"] = unix.SYS_ARCH_PRCTL, unix.SYS_ARCH_PRCTL
	}
	return n
}

// places checks that labels, branches and system calls are where they should
// be. The result is false if the code cannot be followed.
func (v *verifier) places() bool {
	ok := true
	bad := func(off int, format string, args ...any) {
		v.find(off, format, args...)
		ok = false
	}
	v.sites = make(map[int]string)
	for name := range v.numbers() {
		off, found := v.label("site-" + name)
		past, foundPast := v.label("past-" + name)
		if !found || name != "die" && (!foundPast || past != off+2) {
			bad(off, "site %s is not declared with the place behind it", name)
			continue
		}
		v.sites[off] = name
	}
	for _, l := range v.stub.Labels {
		if _, known := v.at[int(l.Offset)]; !known && int(l.Offset) != len(v.stub.Code) {
			bad(int(l.Offset), "label %s is inside an instruction", l.Name)
		}
	}
	for _, name := range []string{"handler", "resume", "resumed", "die"} {
		if _, found := v.label(name); !found {
			bad(0, "no label %s", name)
		}
	}
	if h, _ := v.label("handler"); h != 0 || v.stub.Handler != 0 {
		bad(h, "the handler is not at the start of the page, from where on an address counts as inside")
	}
	leaders := map[int]bool{0: true}
	made := 0
	for _, in := range v.insns {
		if in.Op == x86asm.SYSCALL {
			made++
			leaders[in.end()] = true
			if _, declared := v.sites[in.off]; !declared {
				bad(in.off, "system call at a place that is no site")
			}
		}
		if ends(in.Op) && in.end() < len(v.stub.Code) {
			leaders[in.end()] = true
		}
		rel, isRel := in.Args[0].(x86asm.Rel)
		if (in.Op == x86asm.JMP || isJcc(in.Op)) != isRel {
			bad(in.off, "%v to a computed place", in.Op)
			continue
		}
		if isRel {
			to := in.end() + int(rel)
			if _, known := v.at[to]; !known {
				bad(in.off, "jump to %#x, where no instruction begins", to)
			}
			leaders[to] = true
		}
	}
	if made != len(v.sites) {
		bad(0, "%d system call instructions at %d sites", made, len(v.sites))
	}
	for off := range leaders {
		v.leaders = append(v.leaders, off)
	}
	slices.Sort(v.leaders)
	v.checked("%d system calls, each at its declared site; %d places that jumps, calls and signals lead to", made, len(v.leaders))
	return ok
}

func isJcc(op x86asm.Op) bool {
	return op == x86asm.JE || op == x86asm.JNE || op == x86asm.JB || op == x86asm.JAE
}

func (v *verifier) label(name string) (int, bool) {
	off, ok := v.stub.Label(name)
	return int(off), ok
}

func (v *verifier) must(name string) int {
	off, ok := v.label(name)
	if !ok {
		panic("BUG: no label " + name)
	}
	return off
}

// checkHidden looks at every byte of the page, aligned with the code or not, at
// which a system call instruction may be decoded, and asks the filter. All the
// instructions that enter the kernel on purpose end in one of three pairs of
// bytes whatever their prefixes: syscall, sysenter and int n.
func (v *verifier) checkHidden() {
	page := make([]byte, arch.PageSize+2) // the control page behind is not executable
	copy(page, v.stub.Code)
	past := make(map[int]bool) // ends of such instructions
	found := 0
	for off := range arch.PageSize - 1 {
		if a, b := page[off], page[off+1]; a == 0x0f && (b == 0x05 || b == 0x34) || a == 0xcd {
			past[off+2] = true
			found++
		}
	}
	// The decoder agrees that there are no others.
	for off := range arch.PageSize {
		in, err := x86asm.Decode(page[off:arch.PageSize], 64)
		if err != nil || in.Op == 0 {
			continue
		}
		enters := in.Op == x86asm.SYSCALL || in.Op == x86asm.SYSENTER || in.Op == x86asm.INT && in.Args[0] != x86asm.Imm(3)
		if enters && !past[off+in.Len] {
			v.find(off, "%v is decoded where no such bytes stand", in.Op)
		}
	}
	calls := v.goodCalls()
	asked := 0
	for off := 0; off <= arch.PageSize; off++ {
		for name, d := range calls {
			site := v.must("site-" + name)
			for _, audit := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386} {
				d.Arch, d.IP = audit, uint64(v.lay.Code)+uint64(off)
				got, err := bpf.Run(v.filter, &d)
				if err != nil {
					v.find(off, "the filter fails: %v", err)
					return
				}
				asked++
				want := bpf.KillProcess
				switch {
				case off == arch.PageSize:
					// Behind the page, where nothing can be executed.
					want = bpf.Trap
				case off == site+2 && audit == unix.AUDIT_ARCH_X86_64 && name != "die":
					want = bpf.Allow
				}
				if got != want {
					v.find(off, "the filter says %v to what site %s calls (architecture %#x), want %v", got, name, audit, want)
				}
			}
		}
	}
	v.checked("%d places in the page, aligned or not, decode to a system call; of %d calls asked of the filter it allows one at each site and none elsewhere", found, asked)
}

// goodCalls are the calls of all sites, as the code makes them.
func (v *verifier) goodCalls() map[string]bpf.Data {
	calls := map[string]bpf.Data{"die": {NR: unix.SYS_EXIT_GROUP}}
	futex := uint64(v.lay.Data) + stubabi.OffSealedFutex
	calls["wake"] = bpf.Data{NR: unix.SYS_FUTEX, Args: [6]uint64{futex, futexWake, 1}}
	calls["wait"] = bpf.Data{NR: unix.SYS_FUTEX, Args: [6]uint64{futex, futexWait, uint64(stubabi.InKern)}}
	mmap := bpf.Data{NR: unix.SYS_MMAP, Args: [6]uint64{0x1000, arch.PageSize, unix.PROT_READ}}
	if st := v.batch["mmap"]; st != nil {
		mmap.Args[3], mmap.Args[4] = st.regs[regR10].c, st.regs[regR8].c
	}
	calls["mmap"] = mmap
	calls["munmap"] = bpf.Data{NR: unix.SYS_MUNMAP, Args: [6]uint64{0x1000, arch.PageSize}}
	if !v.stub.Sealed.Bases {
		calls["set-fs"] = bpf.Data{NR: unix.SYS_ARCH_PRCTL, Args: [6]uint64{archSetFS, 0x1234}}
		calls["set-gs"] = bpf.Data{NR: unix.SYS_ARCH_PRCTL, Args: [6]uint64{archSetGS, 0x1234}}
	}
	return calls
}
