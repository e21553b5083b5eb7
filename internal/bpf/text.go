package bpf

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Label names an instruction.
type Label struct {
	Name  string
	Index int
}

// Program is a finished filter.
type Program struct {
	Insns  []unix.SockFilter
	Labels []Label // in the order of their instructions
	notes  map[int]string
}

// Run is the kernel's answer to one system call.
func (p *Program) Run(d *Data) Action {
	a, err := Run(p.Insns, d)
	if err != nil {
		panic("BUG: a checked program: " + err.Error())
	}
	return a
}

// Decode makes a program of bare instructions, with labels L0, L1... at the
// places that they jump to. It does not ask for more than that jumps stay
// inside.
func Decode(insns []unix.SockFilter) (*Program, error) {
	target := make(map[uint64]bool)
	for i, in := range insns {
		if in.Code&classMask != unix.BPF_JMP {
			continue
		}
		for _, to := range successors(i, in) {
			if to >= uint64(len(insns)) {
				return nil, fmt.Errorf("%w: instruction %d jumps past the end", ErrProgram, i)
			}
			if to != uint64(i)+1 {
				target[to] = true
			}
		}
	}
	p := &Program{Insns: insns}
	for i := range insns {
		if target[uint64(i)] {
			p.Labels = append(p.Labels, Label{fmt.Sprintf("L%d", len(p.Labels)), i})
		}
	}
	return p, nil
}

// Text lists the program: index, encoding, and the instruction with field and
// action names and its jumps by label.
func (p *Program) Text() string {
	names := make(map[int]string)
	for _, l := range p.Labels {
		if _, named := names[l.Index]; !named {
			names[l.Index] = l.Name
		}
	}
	place := func(to int) string {
		if name, ok := names[to]; ok {
			return name
		}
		return fmt.Sprintf("%d", to)
	}
	var out strings.Builder
	for i, in := range p.Insns {
		for _, l := range p.Labels {
			if l.Index == i {
				fmt.Fprintf(&out, "%s:\n", l.Name)
			}
		}
		line := text(in)
		if in.Code&classMask == unix.BPF_JMP {
			if in.Code&opMask == unix.BPF_JA {
				line = "goto " + place(i+1+int(in.K))
			} else {
				line += branches(int(in.Jt), int(in.Jf), func(skip int) string { return place(i + 1 + skip) })
			}
		}
		if note := p.notes[i]; note != "" {
			line = fmt.Sprintf("%-40s ; %s", line, note)
		}
		fmt.Fprintf(&out, "%5d  %04x %02x %02x %08x  %s\n", i, in.Code, in.Jt, in.Jf, in.K, line)
	}
	return out.String()
}

func branches(yes, no int, place func(int) string) string {
	var s string
	if yes != 0 {
		s += " goto " + place(yes)
	}
	if no != 0 {
		s += " else " + place(no)
	}
	return s
}

var (
	aluText  = map[uint16]string{unix.BPF_ADD: "+=", unix.BPF_SUB: "-=", unix.BPF_MUL: "*=", unix.BPF_DIV: "/=", unix.BPF_AND: "&=", unix.BPF_OR: "|=", unix.BPF_XOR: "^=", unix.BPF_LSH: "<<=", unix.BPF_RSH: ">>="}
	condText = map[uint16]string{unix.BPF_JEQ: "==", unix.BPF_JGT: ">", unix.BPF_JGE: ">=", unix.BPF_JSET: "&"}
)

// text is one instruction without its jump targets.
func text(in unix.SockFilter) string {
	if !known(in.Code) {
		return fmt.Sprintf("unknown %#x", in.Code)
	}
	operand := fmt.Sprintf("%#x", in.K)
	if in.Code&unix.BPF_X != 0 {
		operand = "X"
	}
	reg := "A"
	if class := in.Code & classMask; class == unix.BPF_LDX || class == unix.BPF_STX {
		reg = "X"
	}
	switch in.Code & classMask {
	case unix.BPF_ALU:
		if in.Code == unix.BPF_ALU|unix.BPF_NEG {
			return "A = -A"
		}
		return fmt.Sprintf("A %s %s", aluText[in.Code&opMask], operand)
	case unix.BPF_JMP:
		if in.Code&opMask == unix.BPF_JA {
			return "goto"
		}
		return fmt.Sprintf("if A %s %s", condText[in.Code&opMask], operand)
	case unix.BPF_ST, unix.BPF_STX:
		return fmt.Sprintf("M[%d] = %s", in.K, reg)
	case unix.BPF_MISC:
		if in.Code == unix.BPF_MISC|unix.BPF_TAX {
			return "X = A"
		}
		return "A = X"
	case unix.BPF_RET:
		if in.Code == unix.BPF_RET|unix.BPF_A {
			return "return A"
		}
		return "return " + Action(in.K).String()
	}
	switch in.Code &^ classMask { // loads
	case unix.BPF_ABS:
		return fmt.Sprintf("A = %v", Word(in.K))
	case unix.BPF_LEN:
		return reg + " = len"
	case unix.BPF_MEM:
		return fmt.Sprintf("%s = M[%d]", reg, in.K)
	}
	return fmt.Sprintf("%s = %#x", reg, in.K)
}
