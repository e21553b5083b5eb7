package amd64

import (
	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// scratch in the data page that the start-up program uses before there is a
// guest: a stack_t, then a struct sigaction, then a struct sock_fprog.
const (
	sealedStackT = 0xe00
	sealedAction = 0xe20
	sealedFprog  = 0xe60
)

// sealedProgram is the start-up code of the sealed stubs' template. It maps the
// three kinds of stub page and the template's own, keeps guest memory and the two
// descriptors of the stub pages, takes everything else out of its address space
// that the exec has left there, and goes under the filter. What it leaves mapped
// is itself; the first batch takes that away.
//
// No guest code ever runs here: see sealedTemplate for what comes next.
func sealedProgram(l arch.StubLayout, s *arch.Stub) ([]byte, error) {
	a := asm.New(programBase)
	pages := int64(3+1+l.StackPages) * arch.PageSize
	data := int64(l.Data)

	// The stub's pages may lie over the stack that the exec made.
	a.Alu(asm.Sub, 8, asm.RSP, asm.Imm(pages+stubabi.SealedInitSize))
	a.Alu(asm.And, 8, asm.RSP, asm.Imm(-16))

	prctl := func(code int64, arg asm.Operand) {
		args(a, asm.Imm(code), arg, asm.Imm(0), asm.Imm(0), asm.Imm(0))
		call(a, unix.SYS_PRCTL)
	}
	a.Lea(asm.RBX, asm.At("name"))
	prctl(unix.PR_SET_NAME, asm.RBX)
	prctl(unix.PR_SET_PDEATHSIG, asm.Imm(int64(unix.SIGKILL)))
	prctl(unix.PR_SET_NO_NEW_PRIVS, asm.Imm(1))
	prctl(unix.PR_SET_DUMPABLE, asm.Imm(0))

	args(a, asm.Imm(0), asm.RSP, asm.Imm(stubabi.SealedInitSize))
	call(a, unix.SYS_READ)
	exitUnless(a, asm.Imm(stubabi.SealedInitSize), stubabi.ExitInitData)
	a.Mov(8, asm.R12, asm.Ptr(asm.RSP, stubabi.OffSealedInitControl))
	a.Mov(8, asm.R13, asm.Ptr(asm.RSP, stubabi.OffSealedInitData))

	mapPages := func(at arch.Addr, pages, prot, fd int64, offset asm.Operand, code stubabi.Exit) {
		args(a, asm.Imm(int64(at)), asm.Imm(pages*arch.PageSize), asm.Imm(prot),
			asm.Imm(unix.MAP_SHARED|unix.MAP_FIXED), asm.Imm(fd), offset)
		call(a, unix.SYS_MMAP)
		a.Mov(8, asm.RBX, asm.Imm(int64(at)))
		exitUnless(a, asm.RBX, code)
	}
	// The code page lies behind the template's in the file, too.
	mapPages(l.Template(), 2, unix.PROT_READ|unix.PROT_EXEC, stubabi.SealedReadFD, asm.Imm(0), stubabi.ExitMapCode)
	mapPages(l.Control, 1, unix.PROT_READ, stubabi.SealedReadFD, asm.R12, stubabi.ExitMapControl)
	mapPages(l.Data, int64(1+l.StackPages), unix.PROT_READ|unix.PROT_WRITE, stubabi.SealedWriteFD, asm.R13, stubabi.ExitMapData)

	args(a, asm.Imm(stubabi.SealedStartMemFD), asm.Imm(stubabi.SealedMemFD))
	call(a, unix.SYS_DUP2)
	exitUnless(a, asm.Imm(stubabi.SealedMemFD), stubabi.ExitMemory)
	for _, fds := range [][2]int64{{stubabi.SealedMemFD + 1, stubabi.SealedReadFD - 1}, {stubabi.SealedWriteFD + 1, 0xffffffff}} {
		args(a, asm.Imm(fds[0]), asm.Imm(fds[1]), asm.Imm(0))
		call(a, unix.SYS_CLOSE_RANGE)
		exitUnless(a, asm.Imm(0), stubabi.ExitCloseRange)
	}
	// The stubs' own come in the place of these, which they never have.
	args(a, asm.Imm(int64(l.Control)), asm.Imm(int64(2+l.StackPages)*arch.PageSize), asm.Imm(unix.MADV_DONTFORK))
	call(a, unix.SYS_MADVISE)
	exitUnless(a, asm.Imm(0), stubabi.ExitAdvise)

	// From here on the data page is the only memory needed: the stack goes.
	store := func(off int64, v asm.Operand) {
		a.Mov(8, asm.RAX, v)
		a.Mov(8, asm.Ptr(asm.RBP, int32(off)), asm.RAX)
	}
	a.Mov(8, asm.RBP, asm.Imm(data))
	store(sealedStackT, asm.Imm(int64(l.Stack)))
	store(sealedStackT+8, asm.Imm(0))
	store(sealedStackT+16, asm.Imm(int64(l.StackPages)*arch.PageSize))
	args(a, asm.Imm(data+sealedStackT), asm.Imm(0))
	call(a, unix.SYS_SIGALTSTACK)
	exitUnless(a, asm.Imm(0), stubabi.ExitAltStack)

	// No signal is masked in the handler, and nothing could unmask one. The
	// restorer is never returned to, but the host insists on one.
	store(sealedAction, asm.Imm(int64(l.Code)+int64(s.Handler)))
	store(sealedAction+8, asm.Imm(saSiginfo|saRestorer|saOnstack|saNodefer))
	store(sealedAction+16, asm.Imm(int64(l.Code)+int64(s.Restorer)))
	store(sealedAction+24, asm.Imm(0))
	for _, h := range stubSignals(true) {
		args(a, asm.Imm(int64(h.sig)), asm.Imm(data+sealedAction), asm.Imm(0), asm.Imm(8))
		call(a, unix.SYS_RT_SIGACTION)
		exitUnless(a, asm.Imm(0), h.code)
	}

	unmap := func(from, to asm.Operand) {
		args(a, from, to)
		a.Alu(asm.Sub, 8, asm.RSI, asm.RDI)
		call(a, unix.SYS_MUNMAP)
		exitUnless(a, asm.Imm(0), stubabi.ExitUnmap)
	}
	unmap(asm.Imm(0), asm.Imm(programBase))
	// The program's end is known only when the filter has been appended.
	a.Movzx(2, asm.R12, asm.At("filter-length"))
	a.Lea(asm.R13, asm.At("filter"))
	a.Shl(8, asm.R12, 3) // sizeof(struct sock_filter)
	a.Alu(asm.Add, 8, asm.R13, asm.R12)
	a.Alu(asm.Add, 8, asm.R13, asm.Imm(arch.PageSize-1))
	a.Alu(asm.And, 8, asm.R13, asm.Imm(-arch.PageSize))
	unmap(asm.R13, asm.Imm(int64(l.Template())))

	a.Movzx(2, asm.RAX, asm.At("filter-length"))
	a.Mov(8, asm.Ptr(asm.RBP, sealedFprog), asm.RAX)
	a.Lea(asm.RAX, asm.At("filter"))
	a.Mov(8, asm.Ptr(asm.RBP, sealedFprog+8), asm.RAX)
	args(a, asm.Imm(unix.SECCOMP_SET_MODE_FILTER), asm.Imm(unix.SECCOMP_FILTER_FLAG_TSYNC), asm.Imm(data+sealedFprog))
	call(a, unix.SYS_SECCOMP)
	exitUnless(a, asm.Imm(0), stubabi.ExitSeccomp)

	a.Mov(8, asm.RDI, asm.Imm(int64(stubabi.ExitNotFiltered)))
	call(a, unix.SYS_EXIT)
	a.Ud2()

	a.Label("name").Bytes([]byte(StubName + "\x00"))
	a.Align(8)
	// Must come last: the filter is appended here.
	a.Label("filter-length").Zero(8)
	a.Label("filter")
	return a.Assemble()
}
