package guest

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/abi"
)

// A signal frame that does not fit on the alternate stack was once written
// below it, over whatever lies there. Linux kills with SIGSEGV.
func TestSignalFrameStaysOnTheAlternateStack(t *testing.T) {
	for _, size := range []uint64{abi.MINSIGSTKSZ, 1 << 16} {
		k, _ := newBareKernel(t, 1<<20)
		newBareTask(t, k) // process 1, which takes the notice of the other's end
		task := newBareTask(t, k)
		mem := task.anon(t, 32)
		below, stack := mem, mem+8*arch.PageSize
		guard := bytes.Repeat([]byte{0x5a}, 8*arch.PageSize)
		task.poke(t, below, guard)
		if e := task.storeWords(arch.Addr(mem+31*arch.PageSize), stack, 0, size); e != 0 {
			t.Fatal(e)
		}
		task.must(t, unix.SYS_SIGALTSTACK, mem+31*arch.PageSize, 0)
		task.sig.actions[unix.SIGUSR1] = sigAction{handler: 0x1000, restorer: 0x2000, flags: abi.SA_ONSTACK | abi.SA_RESTORER}
		k.arch.SetSP(&task.regs, arch.Addr(mem+30*arch.PageSize))
		task.send(userSig(unix.SIGUSR1))
		space := task.space
		space.ref() // outlives the task
		for task.state == taskRunning && task.deliverable() != 0 {
			k.deliverSignals(task)
		}
		fits := uint64(k.arch.XSize())+600 < size
		if alive := task.state == taskRunning; alive != fits {
			t.Errorf("stack of %d bytes: task alive %v", size, alive)
		}
		if !fits && task.status != int(unix.SIGSEGV) {
			t.Errorf("stack of %d bytes: status %#x", size, task.status)
		}
		got := make([]byte, len(guard))
		if _, err := space.table().CopyIn(got, arch.Addr(below)); err != nil || !bytes.Equal(got, guard) {
			t.Errorf("stack of %d bytes: the memory below has changed (%v)", size, err)
		}
		space.unref()
	}
}

// The frame of a signal once had the number, error code and address of page
// faults alone, and a general protection fault the address of one before it.
func TestSignalFramesTellTheTrap(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	stack := task.anon(t, 16)
	for _, c := range []struct {
		name string
		in   sigInfo
		trap arch.Fault // the exception
		want arch.Fault // in the frame
		addr uint64     // in the siginfo
	}{
		{"breakpoint", faultSignal(int(unix.SIGTRAP), abi.SI_KERNEL, 0), arch.Fault{Trap: 3}, arch.Fault{Trap: 3}, 0},
		{"page fault", faultSignal(int(unix.SIGSEGV), abi.SEGV_MAPERR, 0x1234),
			arch.Fault{Page: true, Addr: 0x1234, Trap: 14, Code: 6}, arch.Fault{Addr: 0x1234, Trap: 14, Code: 6}, 0x1234},
		{"general protection", faultSignal(int(unix.SIGSEGV), abi.SI_KERNEL, 0),
			arch.Fault{Trap: 13, Code: 0x102}, arch.Fault{Addr: 0x1234, Trap: 13, Code: 0x102}, 0},
		{"division", faultSignal(int(unix.SIGFPE), 1, 0x400000), arch.Fault{}, arch.Fault{Addr: 0x1234}, 0x400000},
		{"undefined instruction", faultSignal(int(unix.SIGILL), 2, 0x400000), arch.Fault{Trap: 6}, arch.Fault{Addr: 0x1234, Trap: 6}, 0x400000},
		// Sent from the host: no exception of the task's.
		{"from outside", faultSignal(int(unix.SIGILL), 0, 0), arch.Fault{}, arch.Fault{Addr: 0x1234, Trap: 6}, 0},
	} {
		task.sig.actions[c.in.no] = sigAction{handler: 0x1000, restorer: 0x2000, flags: abi.SA_RESTORER}
		task.setBlocked(0)
		k.arch.SetSP(&task.regs, arch.Addr(stack+15*arch.PageSize))
		task.forceFault(c.in, c.trap)
		k.deliverSignals(task)
		// struct rt_sigframe: the return address, then the ucontext with its
		// sigcontext at 40, whose err, trapno, mask and cr2 are at 152, and
		// the siginfo, whose address is at 16 (asm/sigframe.h, asm/sigcontext.h).
		frame := task.peek(t, uint64(k.arch.SP(&task.regs)), 8+40+256+8+24)
		mctx, info := frame[48:], frame[312:]
		got := arch.Fault{Code: le.Uint64(mctx[152:]), Trap: le.Uint64(mctx[160:]), Addr: arch.Addr(le.Uint64(mctx[176:]))}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if addr := le.Uint64(info[16:]); addr != c.addr {
			t.Errorf("%s: address %#x, want %#x", c.name, addr, c.addr)
		}
	}
}

// sigreturn once took any alternate stack from the frame, also one that
// sigaltstack refuses.
func TestSigreturnChecksTheAlternateStack(t *testing.T) {
	const ssBase, ssFlags, ssSize = 24, 32, 40 // of uc_stack, from the frame's start
	for _, c := range []struct {
		name              string
		base, flags, size uint64
		taken             bool
	}{
		{"good", 0x10000, 0, 1 << 16, true},
		{"too small", 0x10000, 0, abi.MINSIGSTKSZ - 1, false},
		{"bad flags", 0x10000, 0x40, 1 << 16, false},
		{"none", 0x10000, abi.SS_DISABLE, 1 << 16, true},
	} {
		k, _ := newBareKernel(t, 1<<20)
		task := newBareTask(t, k)
		mem := task.anon(t, 64)
		sp := mem + 15*arch.PageSize
		task.altBase, task.altSize, task.altFlags = arch.Addr(mem+16*arch.PageSize), 1<<15, 0
		task.sig.actions[unix.SIGUSR1] = sigAction{handler: 0x1000, restorer: 0x2000, flags: abi.SA_RESTORER}
		k.arch.SetSP(&task.regs, arch.Addr(sp))
		task.send(userSig(unix.SIGUSR1))
		k.deliverSignals(task)
		frame := uint64(k.arch.SP(&task.regs))
		before := [3]uint64{uint64(task.altBase), uint64(task.altFlags), task.altSize}
		for i, w := range []uint64{c.base, c.flags, c.size} {
			if e := task.storeU64(arch.Addr(frame+[]uint64{ssBase, ssFlags, ssSize}[i]), w); e != 0 {
				t.Fatal(e)
			}
		}
		k.arch.SetSP(&task.regs, arch.Addr(frame+8)) // the handler has returned
		if _, e := sysRtSigreturn(task, args{}); e != errNeverReturns || task.deliverable() != 0 {
			t.Fatalf("%s: sigreturn: %v", c.name, e)
		}
		if got := uint64(k.arch.SP(&task.regs)); got != sp {
			t.Errorf("%s: the stack is at %#x", c.name, got)
		}
		want := before
		switch {
		case c.taken && c.flags == abi.SS_DISABLE:
			want = [3]uint64{0, abi.SS_DISABLE, 0}
		case c.taken:
			want = [3]uint64{c.base, c.flags, c.size}
		}
		if got := [3]uint64{uint64(task.altBase), uint64(task.altFlags), task.altSize}; got != want {
			t.Errorf("%s: alternate stack %#x, want %#x", c.name, got, want)
		}
	}
}

func userSig(no unix.Signal) sigInfo { return sigInfo{no: int(no)} }
