package guest

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// tmpFile makes a file with content, open for reading and writing.
func tmpFile(t *testing.T, task *Task, content []byte) uint64 {
	t.Helper()
	at := task.anon(t, uint64(len(content))/arch.PageSize+2)
	task.poke(t, at, append([]byte("/file"), 0))
	fd := uint64(task.must(t, unix.SYS_OPEN, at, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644))
	task.poke(t, at, content)
	if n := task.must(t, unix.SYS_WRITE, fd, at, uint64(len(content))); n != int64(len(content)) {
		t.Fatalf("wrote %d", n)
	}
	task.must(t, unix.SYS_LSEEK, fd, 0, unix.SEEK_SET)
	task.must(t, unix.SYS_MUNMAP, at, uint64(len(content))+2*arch.PageSize&^(arch.PageSize-1))
	return fd
}

// A read into memory that ends early once moved the file's offset past what it
// delivered: the bytes between were lost.
func TestReadThatFaultsKeepsTheOffset(t *testing.T) {
	k, _ := newBareKernel(t, 4<<20)
	task := newBareTask(t, k)
	content := make([]byte, 5*arch.PageSize)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	fd := tmpFile(t, task, content)
	at := task.anon(t, 3)
	task.must(t, unix.SYS_MUNMAP, at+2*arch.PageSize, arch.PageSize)
	buf := at + arch.PageSize // one page is left
	if n := task.must(t, unix.SYS_READ, fd, buf, 4*arch.PageSize); n != arch.PageSize {
		t.Errorf("read %d bytes", n)
	}
	if pos := task.must(t, unix.SYS_LSEEK, fd, 0, unix.SEEK_CUR); pos != arch.PageSize {
		t.Errorf("the offset is %d", pos)
	}
	if !bytes.Equal(task.peek(t, buf, arch.PageSize), content[:arch.PageSize]) {
		t.Error("wrong bytes")
	}
	if _, e := task.do(unix.SYS_READ, fd, at+2*arch.PageSize, 100); e != unix.EFAULT {
		t.Errorf("read to nowhere: %v", e)
	}
	if pos := task.must(t, unix.SYS_LSEEK, fd, 0, unix.SEEK_CUR); pos != arch.PageSize {
		t.Errorf("the offset is %d after EFAULT", pos)
	}
}
