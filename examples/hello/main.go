// Command hello uses skas as a library, without the toy guest: it makes an
// address space, puts a page of code into it, runs it, and handles what happens.
package main

import (
	"fmt"
	"io"
	"os"

	"goskas/arch"
	"goskas/arch/amd64"
	"goskas/arch/amd64/asm"
	"goskas/physmem"
	"goskas/skas"
)

const (
	text = 0x10000
	heap = 0x20000
)

// program stores a byte to a page that is not there yet, then asks system call
// 42 for something, with the byte as its argument.
func program() ([]byte, error) {
	a := asm.New(text)
	a.Mov(8, asm.RBX, asm.Imm(heap))
	a.Mov(1, asm.Ptr(asm.RBX, 0), asm.Imm(7))
	a.Movzx(1, asm.RDI, asm.Ptr(asm.RBX, 0))
	a.Mov(8, asm.RAX, asm.Imm(42))
	a.Syscall()
	a.Ud2()
	return a.Assemble()
}

func run(out io.Writer) error {
	code, err := program()
	if err != nil {
		return err
	}
	mem, err := physmem.New(4 << 20)
	if err != nil {
		return err
	}
	defer mem.Close()
	cpu := amd64.New()
	mon, err := skas.New(skas.Config{Memory: mem, Arch: cpu, HZ: 100})
	if err != nil {
		return err
	}
	defer mon.Close()
	vcpu, err := mon.NewVCPU(0)
	if err != nil {
		return err
	}
	mm, err := mon.NewMM() // starts a stub process
	if err != nil {
		return err
	}
	defer mm.Destroy()

	page := func(at arch.Addr, acc arch.Access) ([]byte, error) {
		pfn, err := mem.Alloc()
		if err != nil {
			return nil, err
		}
		return mem.Bytes(pfn), mm.Table().Map(at, pfn, acc)
	}
	frame, err := page(text, arch.Read|arch.Exec)
	if err != nil {
		return err
	}
	copy(frame, code)

	var regs arch.Regs
	cpu.Start(&regs, text, 0)
	for {
		ev, err := vcpu.Run(mm, &regs)
		if err != nil {
			return err
		}
		switch ev.Kind {
		case skas.PageFault:
			fmt.Fprintf(out, "fault: %v access at %#x\n", ev.Fault.Access, uint64(ev.Fault.Addr))
			if _, err := page(ev.Fault.Addr.PageDown(), arch.Read|arch.Write); err != nil {
				return err
			}
		case skas.Syscall:
			fmt.Fprintf(out, "syscall %d with argument %d\n", ev.NR, ev.Args[0])
			cpu.SetResult(&regs, 0)
		case skas.Trap:
			fmt.Fprintf(out, "signal %d: the end\n", ev.Signo)
			return nil
		}
	}
}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}
