package skas

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// The kernel says to guest code at the stub's system calls what the filter's
// specification says: a sample, each in a stub of its own.
func TestKernelSealedSitesRefuse(t *testing.T) {
	r := newRig(t, 100, under(t, guard.Sealed))
	l := r.mon.Layout()
	stub := r.mon.protocol.(*sealed).stub
	futex := uint64(l.Data) + stubabi.OffSealedFutex
	end := uint64(r.mon.End())
	good := map[string][7]uint64{ // number and arguments
		"wake":   {unix.SYS_FUTEX, futex, 1, 1},
		"wait":   {unix.SYS_FUTEX, futex, 0, 1, 0},
		"mmap":   {unix.SYS_MMAP, dataAt, arch.PageSize, 3, stubabi.SealedMapFlags, stubabi.SealedMemFD, 0},
		"munmap": {unix.SYS_MUNMAP, dataAt, arch.PageSize},
	}
	for _, c := range []struct {
		site  string
		i     int // what is changed: 0 is the number
		value uint64
	}{
		{"wake", 0, unix.SYS_GETPID}, {"wake", 0, unix.SYS_MMAP}, {"wake", 0, unix.SYS_FUTEX | 1<<30}, {"wake", 0, 1 << 31},
		{"wake", 1, futex + 4}, {"wake", 1, futex | 1<<47}, {"wake", 2, 0}, {"wake", 2, 1 | 1<<32}, {"wake", 3, 2},
		{"wait", 0, unix.SYS_RESTART_SYSCALL}, {"wait", 0, unix.SYS_RT_SIGRETURN}, {"wait", 1, dataAt}, {"wait", 2, 9}, {"wait", 3, 0}, {"wait", 4, dataAt},
		{"mmap", 0, unix.SYS_MUNMAP}, {"mmap", 0, unix.SYS_MPROTECT}, {"mmap", 1, end}, {"mmap", 1, uint64(l.Data)}, {"mmap", 2, stubabi.MaxSealedLength + arch.PageSize},
		{"mmap", 3, 8}, {"mmap", 3, 1 << 32}, {"mmap", 4, unix.MAP_PRIVATE | unix.MAP_FIXED}, {"mmap", 4, stubabi.SealedMapFlags | unix.MAP_ANONYMOUS}, {"mmap", 5, 1}, {"mmap", 5, ^uint64(0)},
		{"munmap", 0, unix.SYS_MMAP}, {"munmap", 1, uint64(l.Control)}, {"munmap", 1, end}, {"munmap", 2, 1 << 40},
		// These the filter lets through; the check behind them does not.
		{"mmap", 1, dataAt}, {"mmap", 6, 0x5000}, {"munmap", 1, 0x7000_0000}, {"munmap", 2, 3 * arch.PageSize},
	} {
		name := fmt.Sprintf("%s %d %#x", c.site, c.i, c.value)
		call := good[c.site]
		call[c.i] = c.value
		x, regs := r.program(func(a *asm.Assembler) {
			for i, reg := range []asm.Reg{asm.RAX, asm.RDI, asm.RSI, asm.RDX, asm.R10, asm.R8, asm.R9} {
				a.Mov(8, reg, asm.Imm(int64(call[i])))
			}
			off, _ := stub.Label("site-" + c.site)
			a.Mov(8, asm.R15, asm.Imm(int64(uint64(l.Code)+off)))
			a.JmpTo(asm.R15)
		})
		ev, err := r.vcpu.Run(x, regs)
		for err == nil && ev.Kind == Tick {
			ev, err = r.vcpu.Run(x, regs)
		}
		if !errors.Is(err, ErrStubDead) || !strings.Contains(err.Error(), "SIGSYS") {
			t.Errorf("%s: event %+v, error %v", name, ev, err)
		}
		x.Destroy()
	}
}
