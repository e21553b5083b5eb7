package guest

import (
	"bytes"
	"testing"

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

func userSig(no unix.Signal) sigInfo { return sigInfo{no: int(no)} }
