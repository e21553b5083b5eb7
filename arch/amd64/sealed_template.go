package amd64

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// sealedTemplate is the code of the page that only the template has, the process
// that all sealed stubs are copies of. Filter, handlers, signal stack and guest
// memory's descriptor come with the copy; what a stub has for itself it makes
// here: its own pages in the place of the template's, and its tie to the
// monitor.
//
// The monitor resumes the template at the start of the page like a guest, with
// the arguments of StartCall, and gets its answer like a guest's call: the first
// argument is what clone has returned. The new stub takes this page away with its
// last call; the fault behind that is its first report.
//
// The code uses no memory, and it makes every call at a site of its own in the
// filter. Nothing can be mapped here later: the filter keeps the mapping calls
// of a stub's code page far below.
func sealedTemplate(l arch.StubLayout) (code []byte, labels []arch.Label, err error) {
	a := asm.New(uint64(l.Template()))
	site := func(name string, nr int64) {
		call(a, nr)
		a.Label("past-" + name)
	}
	// unless ends the stub if rax is not the value wanted.
	unless := func(want asm.Operand, code stubabi.Exit) {
		a.Mov(8, asm.RDI, asm.Imm(int64(code)))
		a.Alu(asm.Cmp, 8, asm.RAX, want)
		a.Jcc(asm.NE, "give-up")
	}

	a.Mov(8, asm.R12, asm.RDI) // control's offset
	a.Mov(8, asm.R13, asm.RSI) // data's offset
	a.Mov(8, asm.R14, asm.RDX) // the monitor's pid
	args(a, asm.Imm(stubabi.TemplateCloneFlags), asm.Imm(0))
	site("clone", unix.SYS_CLONE)
	a.Alu(asm.Cmp, 8, asm.RAX, asm.Imm(0))
	a.Jcc(asm.E, "stub")
	// No site, so it is trapped. The number matters all the same: the host lets
	// uretprobe and uprobe pass, whatever a filter says (kernel/seccomp.c,
	// Linux 6.14 and 6.18), and a pid left in rax is one of these now and then.
	a.Mov(8, asm.RDI, asm.RAX)
	a.Label("tell")
	call(a, unix.SYS_GETPID)
	a.Ud2()

	// The parent-death signal is not inherited. The monitor may have gone just
	// before it is set.
	a.Label("stub")
	args(a, asm.Imm(unix.PR_SET_PDEATHSIG), asm.Imm(int64(unix.SIGKILL)))
	site("pdeathsig", unix.SYS_PRCTL)
	unless(asm.Imm(0), stubabi.ExitParent)
	site("getppid", unix.SYS_GETPPID)
	unless(asm.R14, stubabi.ExitParent)

	mapPages := func(name string, at arch.Addr, pages, prot, fd int64, offset asm.Operand, code stubabi.Exit) {
		args(a, asm.Imm(int64(at)), asm.Imm(pages*arch.PageSize), asm.Imm(prot), asm.Imm(unix.MAP_SHARED|unix.MAP_FIXED), asm.Imm(fd), offset)
		site(name, unix.SYS_MMAP)
		a.Mov(8, asm.RBX, asm.Imm(int64(at)))
		unless(asm.RBX, code)
	}
	mapPages("map-control", l.Control, 1, unix.PROT_READ, stubabi.SealedReadFD, asm.R12, stubabi.ExitMapControl)
	mapPages("map-data", l.Data, int64(1+l.StackPages), unix.PROT_READ|unix.PROT_WRITE, stubabi.SealedWriteFD, asm.R13, stubabi.ExitMapData)

	args(a, asm.Imm(stubabi.SealedMemFD+1), asm.Imm(0xffffffff), asm.Imm(0))
	site("close", unix.SYS_CLOSE_RANGE)
	unless(asm.Imm(0), stubabi.ExitCloseRange)

	args(a, asm.Imm(int64(l.Template())), asm.Imm(arch.PageSize))
	site("leave", unix.SYS_MUNMAP)
	a.Mov(8, asm.RDI, asm.Imm(int64(stubabi.ExitUnmap)))
	a.Label("give-up")
	site("exit", unix.SYS_EXIT)
	a.Ud2()

	return codePage(a, "the template's code")
}
