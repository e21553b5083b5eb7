package amd64

import (
	"slices"
	"strings"

	"goskas/arch"
	"goskas/internal/bpf"
	"goskas/stubexe/stubabi"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"
)

// templateOps are what the template's page may consist of. With no operand in
// memory, none of them reads or writes any.
var templateOps = []x86asm.Op{x86asm.MOV, x86asm.CMP, x86asm.JE, x86asm.JNE, x86asm.SYSCALL, x86asm.UD2}

// birth are the calls that a new stub makes, in their order, with what they must
// return and the offset that they are given. Each result but the last one's is
// looked at before the next call. Behind the last there is nothing left to run.
func (v *verifier) birth() []birthCall {
	return []birthCall{
		{"pdeathsig", 0, anyOffset},
		{"getppid", inR14, anyOffset},
		{"map-control", uint64(v.lay.Control), inR12},
		{"map-data", uint64(v.lay.Data), inR13},
		{"close", 0, anyOffset},
		{"leave", 0, anyOffset},
	}
}

type birthCall struct {
	name           string
	result, offset uint64
}

// What the monitor has put into registers is known by these values.
const (
	anyOffset = ^uint64(0) - iota
	inR12     // where the control page lies in its file
	inR13     // and the data page
	inR14     // the monitor's pid
)

// checkTemplate: a new stub goes one way through the template's page, past every
// call that makes it a stub, and out of it. Where the page was, the filter still
// knows its sites, so no mapping call of a stub may reach there; and what is
// allowed at them is allowed nowhere else.
func (v *verifier) checkTemplate() {
	v.walkBirth()
	v.askTemplate()
	v.checked("template: no instruction uses memory; a new stub makes %d calls in one way through them, the last of which takes the page away, where no mapping call reaches", len(v.birth()))
}

// template takes the page apart.
func (v *verifier) template() (insns map[int]insn, ok bool) {
	code := v.stub.Template
	if len(code) > arch.PageSize {
		v.find(0, "template: %d bytes of code", len(code))
		return nil, false
	}
	insns = make(map[int]insn)
	for off := 0; off < len(code); {
		in, err := x86asm.Decode(code[off:], 64)
		if err != nil || !slices.Contains(templateOps, in.Op) {
			v.find(off, "template: %v is not an instruction of it", in.Op)
			return nil, false
		}
		for _, a := range in.Args {
			if _, isMem := a.(x86asm.Mem); isMem {
				v.find(off, "template: %v uses memory", in)
			}
		}
		insns[off] = insn{off, in}
		off += in.Len
	}
	return insns, true
}

// walkBirth follows a new stub from where it begins.
func (v *verifier) walkBirth() {
	insns, whole := v.template()
	start, ok := v.stub.TemplateLabel("stub")
	giveUp, ok2 := v.stub.TemplateLabel("give-up")
	if !whole || !ok || !ok2 {
		v.find(0, "template: no way for a new stub")
		return
	}
	birth := v.birth()
	known := map[int]uint64{regR12: inR12, regR13: inR13, regR14: inR14} // by register; the others may be anything
	// value is an operand's, all 64 bits of it.
	value := func(a x86asm.Arg, size int) (c uint64, ok bool) {
		switch a := a.(type) {
		case x86asm.Imm:
			if size == 4 {
				return uint64(uint32(a)), true
			}
			return uint64(a), true
		case x86asm.Reg:
			if r, rsize, isGPR := gpr(a); isGPR && rsize == 8 && size == 8 {
				c, ok = known[r]
			}
		}
		return c, ok
	}
	// owed is set while the last call's result has not been looked at, and
	// compared behind the comparison.
	owed, compared := false, false
	for off, made := int(start), 0; made < len(birth); {
		in, ok := insns[off]
		if !ok {
			v.find(off, "template: a new stub comes to where no instruction begins")
			return
		}
		off = in.end()
		bad := func() { v.find(in.off, "template: %v on a new stub's way", in.Inst) }
		switch in.Op {
		case x86asm.MOV:
			to, _ := in.Args[0].(x86asm.Reg)
			r, size, isGPR := gpr(to)
			if !isGPR {
				bad()
				return
			}
			delete(known, r)
			if c, ok := value(in.Args[1], size); ok {
				known[r] = c
			}
		case x86asm.CMP:
			c, ok := value(in.Args[1], 8)
			if in.Args[0] != x86asm.RAX || made == 0 || !ok || c != birth[made-1].result {
				bad()
				return
			}
			compared = true
		case x86asm.JNE:
			if rel, _ := in.Args[0].(x86asm.Rel); !compared || in.end()+int(rel) != int(giveUp) {
				bad()
				return
			}
			owed, compared = false, false
		case x86asm.SYSCALL:
			if !v.isBirth(in, birth[made], owed, known) {
				return
			}
			// Each call has its arguments set anew; rcx and r11 the host loses.
			for _, r := range []int{regRAX, regRCX, regR11, regRDI, regRSI, regRDX, regR10, regR8, regR9} {
				delete(known, r)
			}
			owed = true
			made++
		default:
			bad()
			return
		}
	}
}

// isBirth holds a new stub's call against the one that is due.
func (v *verifier) isBirth(in insn, due birthCall, owed bool, known map[int]uint64) bool {
	if past, _ := v.stub.TemplateLabel("past-" + due.name); int(past) != in.end() || owed {
		v.find(in.off, "template: a new stub makes a call other than %s, or has not looked at the last one's result", due.name)
		return false
	}
	d := bpf.Data{Arch: unix.AUDIT_ARCH_X86_64, IP: uint64(v.lay.Template()) + uint64(in.end())}
	nr, ok := known[regRAX]
	d.NR = uint32(nr)
	for i, r := range []int{regRDI, regRSI, regRDX, regR10, regR8, regR9} {
		if c, ok := known[r]; ok {
			d.Args[i] = c
		} else {
			d.Args[i] = anyOffset
		}
	}
	if got, err := bpf.Run(v.filter, &d); err != nil || got != bpf.Allow || !ok {
		v.find(in.off, "template: the filter says %v to %s", got, due.name)
		return false
	}
	if due.offset != anyOffset && d.Args[5] != due.offset {
		v.find(in.off, "template: %s with another's offset", due.name)
		return false
	}
	return true
}

// askTemplate asks the filter about the template's calls at every place of the
// two code pages, and about mapping calls to where the template's was.
func (v *verifier) askTemplate() {
	own := func(at arch.Addr, pages int, prot, fd uint64) bpf.Data {
		return bpf.Data{NR: unix.SYS_MMAP, Args: [6]uint64{uint64(at), uint64(pages) * arch.PageSize, prot, unix.MAP_SHARED | unix.MAP_FIXED, fd}}
	}
	calls := map[string]bpf.Data{
		"clone":       {NR: unix.SYS_CLONE, Args: [6]uint64{stubabi.TemplateCloneFlags}},
		"pdeathsig":   {NR: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL)}},
		"getppid":     {NR: unix.SYS_GETPPID},
		"map-control": own(v.lay.Control, 1, unix.PROT_READ, stubabi.SealedReadFD),
		"map-data":    own(v.lay.Data, 1+v.lay.StackPages, unix.PROT_READ|unix.PROT_WRITE, stubabi.SealedWriteFD),
		"close":       {NR: unix.SYS_CLOSE_RANGE, Args: [6]uint64{stubabi.SealedMemFD + 1, 0xffffffff}},
		"leave":       {NR: unix.SYS_MUNMAP, Args: [6]uint64{uint64(v.lay.Template()), arch.PageSize}},
		"exit":        {NR: unix.SYS_EXIT},
	}
	ask := func(d bpf.Data, want bpf.Action, format string, args ...any) {
		if got, err := bpf.Run(v.filter, &d); err != nil || got != want {
			v.find(0, "template: the filter says %v, not %v, to "+format, append([]any{got, want}, args...)...)
		}
	}
	for name, d := range calls {
		past, _ := v.stub.TemplateLabel("past-" + name)
		for off := range uint64(2 * arch.PageSize) {
			for _, d.Arch = range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386} {
				d.IP = uint64(v.lay.Template()) + off
				want := bpf.KillProcess
				switch site := v.templateSite(off); {
				case off >= arch.PageSize: // the code page
				case !site || d.Arch != unix.AUDIT_ARCH_X86_64:
					want = bpf.Trap
				case off == past:
					want = bpf.Allow
				}
				ask(d, want, "%s at %#x", name, d.IP)
			}
		}
	}
	for _, name := range []string{"mmap", "munmap"} {
		d := v.goodCalls()[name]
		d.Arch, d.IP = unix.AUDIT_ARCH_X86_64, uint64(v.lay.Code)+uint64(v.must("past-"+name))
		for _, at := range []arch.Addr{v.lay.Template() - stubabi.MaxSealedLength, v.lay.Template() - arch.PageSize, v.lay.Template()} {
			d.Args[0], d.Args[1] = uint64(at), arch.PageSize
			ask(d, bpf.KillProcess, "%s at %#x, too near to the template's page", name, uint64(at))
			d.Args[0], d.Args[1] = 0, stubabi.MaxSealedLength+1
			ask(d, bpf.KillProcess, "%s of more than it may", name)
		}
	}
}

// templateSite reports the place behind one of the template's calls.
func (v *verifier) templateSite(off uint64) bool {
	return slices.ContainsFunc(v.stub.TemplateLabels, func(l arch.Label) bool { return l.Offset == off && strings.HasPrefix(l.Name, "past-") })
}
