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

// Named pipes were once refused. Open waits for the other end, also for one that
// has come and gone, and O_NONBLOCK does not.
func TestOpenNamedPipes(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	reader, writer := newBareTask(t, k), newBareTask(t, k)
	var path [2]uint64
	for i, task := range []*Task{reader, writer} {
		path[i] = task.anon(t, 1)
		task.poke(t, path[i], append([]byte("/pipe"), 0))
	}
	reader.must(t, unix.SYS_MKNOD, path[0], unix.S_IFIFO|0o600, 0)
	if _, e := writer.do(unix.SYS_OPEN, path[1], unix.O_WRONLY|unix.O_NONBLOCK); e != unix.ENXIO {
		t.Errorf("a writer alone: %v", e)
	}
	poll := func(fd int64, want int16) {
		t.Helper()
		f, e := reader.file(int(fd))
		if e != 0 {
			t.Fatal(e)
		}
		if got := f.File.Ready(); got != want {
			t.Errorf("poll: %#x, want %#x", got, want)
		}
	}
	early := reader.must(t, unix.SYS_OPEN, path[0], unix.O_RDONLY|unix.O_NONBLOCK)
	poll(early, 0) // no hang-up before there was a writer
	if n := reader.must(t, unix.SYS_READ, uint64(early), path[0]+100, 10); n != 0 {
		t.Errorf("read without a writer: %d", n)
	}
	fd := writer.must(t, unix.SYS_OPEN, path[1], unix.O_WRONLY)
	writer.must(t, unix.SYS_CLOSE, uint64(fd))
	poll(early, unix.POLLHUP)
	reader.must(t, unix.SYS_CLOSE, uint64(early))

	if _, e := reader.do(unix.SYS_OPEN, path[0], unix.O_RDONLY); e != errBlocked {
		t.Fatalf("a reader alone: %v", e)
	}
	fd = writer.must(t, unix.SYS_OPEN, path[1], unix.O_WRONLY)
	writer.must(t, unix.SYS_CLOSE, uint64(fd))
	if reader.state != taskRunnable {
		t.Error("the reader was not woken")
	}
	k.attempt(reader)
	if v, _ := k.arch.Syscall(&reader.regs); reader.call.active || int64(v) < 0 {
		t.Errorf("the reader still waits: %d", int64(v))
	}
	reader.must(t, unix.SYS_CLOSE, 0)

	// A signal ends the wait, and the end that was open is closed.
	if _, e := writer.do(unix.SYS_OPEN, path[1], unix.O_WRONLY); e != errBlocked {
		t.Fatalf("a writer alone: %v", e)
	}
	writer.kill(unix.SIGKILL)
	k.attempt(writer)
	early = reader.must(t, unix.SYS_OPEN, path[0], unix.O_RDONLY|unix.O_NONBLOCK)
	poll(early, 0)
	k.deliverSignals(writer)
	both := reader.must(t, unix.SYS_OPEN, path[0], unix.O_RDWR)
	if st, e := reader.file(int(both)); e != 0 || st.File.Seekable() {
		t.Errorf("open for both: %v", e)
	}
}

// A directory that has been removed once still had its name.
func TestGetcwdOfARemovedDirectory(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	at := task.anon(t, 1)
	task.poke(t, at, append([]byte("/dir"), 0))
	task.must(t, unix.SYS_MKDIR, at, 0o755)
	task.must(t, unix.SYS_CHDIR, at)
	if n := task.must(t, unix.SYS_GETCWD, at+100, 100); n != 5 {
		t.Errorf("getcwd: %d", n)
	}
	task.must(t, unix.SYS_RMDIR, at)
	for _, size := range []uint64{100, 1} {
		if _, e := task.do(unix.SYS_GETCWD, at+100, size); e != unix.ENOENT {
			t.Errorf("getcwd into %d bytes: %v", size, e)
		}
	}
}
