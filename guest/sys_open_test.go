package guest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// O_DIRECTORY was once heeded with O_PATH alone.
func TestOpenDirectoryRefusesFiles(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	tmpFile(t, task, []byte("x"))
	at := task.anon(t, 1)
	task.poke(t, at, append([]byte("/file"), 0))
	for _, flags := range []uint64{unix.O_DIRECTORY, unix.O_DIRECTORY | unix.O_PATH} {
		if _, e := task.do(unix.SYS_OPEN, at, flags); e != unix.ENOTDIR {
			t.Errorf("flags %#x: %v", flags, e)
		}
	}
	task.poke(t, at, []byte{'/', 0})
	task.must(t, unix.SYS_OPEN, at, unix.O_DIRECTORY)
}
