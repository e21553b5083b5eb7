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

// A read from a pipe that faults once lost what had not reached memory. As in
// Linux, all of a page of the pipe stays then, and what was there before it is
// the result.
func TestPipeReadThatFaultsKeepsTheBytes(t *testing.T) {
	k, _ := newBareKernel(t, 4<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 6)
	task.must(t, unix.SYS_MUNMAP, at+2*arch.PageSize, arch.PageSize)
	fds, end, src := at, at+2*arch.PageSize, at+3*arch.PageSize
	task.must(t, unix.SYS_PIPE, fds)
	b := task.peek(t, fds, 8)
	r, w := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	content := make([]byte, 2*arch.PageSize+100)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	task.poke(t, src, content)
	task.must(t, unix.SYS_WRITE, w, src, uint64(len(content)))
	left := func(want int) {
		t.Helper()
		task.must(t, unix.SYS_IOCTL, r, 0x541b, at+16) // FIONREAD
		if n := int(le.Uint32(task.peek(t, at+16, 4))); n != want {
			t.Errorf("%d bytes are left, want %d", n, want)
		}
	}
	for _, room := range []uint64{0, 100} {
		if _, e := task.do(unix.SYS_READ, r, end-room, uint64(len(content))); e != unix.EFAULT {
			t.Errorf("read with room for %d: %v", room, e)
		}
		left(len(content))
	}
	if n := task.must(t, unix.SYS_READ, r, end-arch.PageSize-10, uint64(len(content))); n != arch.PageSize {
		t.Errorf("read with room for a page: %d", n)
	}
	left(len(content) - arch.PageSize)
	if n := task.must(t, unix.SYS_READ, r, src, arch.PageSize+100); n != arch.PageSize+100 {
		t.Errorf("read the rest: %d", n)
	}
	if !bytes.Equal(task.peek(t, src, arch.PageSize+100), content[arch.PageSize:]) {
		t.Error("wrong bytes")
	}
}

// lseek once looked at the file before it looked at whence: ESPIPE for a pipe.
func TestLseekRefusesWhenceFirst(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 1)
	task.must(t, unix.SYS_PIPE, at)
	r := uint64(le.Uint32(task.peek(t, at, 4)))
	for _, c := range []struct {
		fd, whence uint64
		want       unix.Errno
	}{
		{r, 0, unix.ESPIPE}, {r, 4, unix.ESPIPE}, {r, 5, unix.EINVAL}, {r, 1 << 31, unix.EINVAL}, {99, 5, unix.EBADF},
	} {
		if _, e := task.do(unix.SYS_LSEEK, c.fd, 0, c.whence); e != c.want {
			t.Errorf("descriptor %d, whence %d: %v, want %v", c.fd, c.whence, e, c.want)
		}
	}
}
