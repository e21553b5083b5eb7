package program

import (
	"debug/elf"
	"errors"
	"fmt"

	"goskas/arch/amd64/asm"
	"goskas/internal/elfimage"
)

// base is where the text starts; that of Linux's non-PIE programs.
const base = 0x400000

// align is the alignment of everything in the data segment.
const align = 16

// Label is an argument: the address of a label.
type Label string

// Addr is an argument: the address of a memory operand.
type Addr asm.Mem

// Program collects a program. Call New. The embedded assembler emits text.
type Program struct {
	*asm.Assembler

	data    []func()          // emit the initialised data
	zero    []func()          // reserve the rest
	strings map[string]string // text to label
	later   []func()          // functions and routines, emitted behind the text
	routine map[string]bool
	fresh   int
	errs    []error
}

// New starts a program.
func New() *Program {
	return &Program{
		Assembler: asm.New(base),
		strings:   make(map[string]string),
		routine:   make(map[string]bool),
	}
}

// Build lays the program out as an ELF image. It may be called once.
func (p *Program) Build() ([]byte, error) {
	for len(p.later) > 0 { // one may add others
		next := p.later[0]
		p.later = p.later[1:]
		next()
	}
	text := p.Len()
	p.Align(elfimage.PageSize)
	data := p.Len()
	for _, emit := range p.data {
		emit()
		p.pad(align)
	}
	zero := p.Len()
	for _, emit := range p.zero {
		emit()
	}
	image, err := p.Assemble()
	if err := errors.Join(append(p.errs, err)...); err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	segments := []elfimage.Segment{{
		Addr: base, Flag: elf.PF_R | elf.PF_X, Data: image[:text], Size: uint64(text),
	}}
	if len(image) > data {
		segments = append(segments, elfimage.Segment{
			Addr: base + uint64(data), Flag: elf.PF_R | elf.PF_W,
			Data: image[data:zero], Size: uint64(len(image) - data),
		})
	}
	return elfimage.Static(elf.EM_X86_64, base, segments...), nil
}

// MustBuild is Build for a program that is a constant: a mistake in it is ours.
func (p *Program) MustBuild() []byte {
	image, err := p.Build()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return image
}

func (p *Program) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("at offset %#x: %s", p.Len(), fmt.Sprintf(format, args...)))
}

// Fresh is a label that nobody else has.
func (p *Program) Fresh() string {
	p.fresh++
	return fmt.Sprintf(".L%d", p.fresh)
}

func (p *Program) pad(n int) { p.Zero((n - p.Len()%n) % n) }

// Data defines a label for bytes in the data segment.
func (p *Program) Data(label string, b []byte) {
	p.data = append(p.data, func() { p.Label(label); p.Bytes(b) })
}

// Text is the label of a NUL-terminated string in the data segment. The same
// text has the same label.
func (p *Program) Text(s string) Label {
	label, ok := p.strings[s]
	if !ok {
		label = p.Fresh()
		p.strings[s] = label
		p.Data(label, []byte(s+"\x00"))
	}
	return Label(label)
}

// Vector is the label of a NULL-terminated array of strings: argv or envp.
func (p *Program) Vector(list ...string) Label {
	label := p.Fresh()
	texts := make([]Label, len(list))
	for i, s := range list {
		texts[i] = p.Text(s)
	}
	p.data = append(p.data, func() {
		p.Label(label)
		for _, t := range texts {
			p.QuadLabel(string(t))
		}
		p.Quad(0)
	})
	return Label(label)
}

// Reserve defines a label for size zero bytes, aligned to a power of two up to
// the page size.
func (p *Program) Reserve(label string, size, alignment int) Label {
	if size <= 0 || alignment < 1 || alignment > elfimage.PageSize || alignment&(alignment-1) != 0 {
		p.fail("reserve %q: size %d, alignment %d", label, size, alignment)
		return Label(label)
	}
	p.zero = append(p.zero, func() {
		p.pad(max(alignment, align))
		p.Label(label)
		p.Zero(size)
	})
	return Label(label)
}

// Word reserves a zero 8-byte variable and gives its place.
func (p *Program) Word(label string) asm.Mem {
	p.Reserve(label, 8, 8)
	return asm.At(label)
}
