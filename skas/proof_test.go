package skas

import (
	"errors"
	"runtime"
	"testing"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Between the moment at which the word is handed to the stub and the wake-up,
// guest code that has forged its last report can take the word back and go to
// the stub's wait. The wake-up finds it there, but it waits on and runs no batch:
// that is no proof.
func TestKernelProofOfAStubThatTakesTheWordBack(t *testing.T) {
	r := newRig(t, 0, under(t, guard.Sealed))
	l := r.mon.Layout()
	stub := r.mon.protocol.(*sealed).stub
	wait, _ := stub.Label("wait")
	other := otherCPU(t, r.vcpu.CPU())
	proved := 0
	for range 30 {
		x, regs := r.program(func(a *asm.Assembler) {
			a.Mov(8, asm.RBX, asm.Imm(dataAt))
			a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
			a.Syscall()
			a.Mov(8, asm.RBX, asm.Imm(int64(l.Data)))
			a.Mov(8, asm.RCX, asm.Imm(int64(l.Code)+int64(wait)))
			a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(stubabi.ReportSame))
			a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
			a.Label("spin")
			a.Alu(asm.Cmp, 4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InChild))
			a.Jcc(asm.NE, "spin")
			a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedFutex), asm.Imm(stubabi.InKern))
			a.Mov(4, asm.Ptr(asm.RBX, stubabi.OffSealedReport), asm.Imm(stubabi.ReportRan))
			a.JmpTo(asm.RCX)
		})
		r.page(x, dataAt, arch.Read|arch.Write)
		if ev := r.run(x, regs); ev.Kind != Syscall {
			t.Fatalf("%+v", ev)
		}
		r.run(x, regs) // which ends with a forged report
		x.Table().Unmap(dataAt, dataAt+arch.PageSize)
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and let the thread end with the goroutine
			if other >= 0 {
				sys.SetAffinity(0, other)
			}
			done <- x.Revoke()
		}()
		switch err := <-done; {
		case err == nil:
			proved++
			r.arch.SetPC(regs, textAt)
			if ev, err := r.vcpu.Run(x, regs); err == nil && ev.Kind != PageFault {
				t.Fatalf("revocation was proved, and the page is still there: %+v", ev)
			}
		case !errors.Is(err, ErrStubDead) && !errors.Is(err, ErrNotRevoked):
			t.Fatal(err)
		}
		x.Destroy()
	}
	t.Logf("%d of 30 proofs", proved)
}

// otherCPU is one that this process may use beside cpu, or -1.
func otherCPU(t *testing.T, cpu int) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(unix.Getpid(), &set); err != nil {
		t.Fatal(err)
	}
	for c := range 64 * len(set) {
		if c != cpu && set.IsSet(c) {
			return c
		}
	}
	return -1
}
