package guest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lockOwner is an owner of record locks: an open file description, in the guest
// and on the host. Those of POSIX belong to a process, of which a test on the
// host has only one; the rules for ranges are the same.
type lockOwner struct {
	task *Task
	fd   uint64
	host int
}

// Locks of ranges against the host's, taken, asked for and given up at random.
func TestRangeLocksAgainstHost(t *testing.T) {
	host := filepath.Join(t.TempDir(), "file")
	for seed := range uint64(4) {
		k, _ := newBareKernel(t, 1<<20)
		rnd := rand.New(rand.NewPCG(seed, 5))
		var owners []lockOwner
		var log []string
		task := newBareTask(t, k)
		mem := task.anon(t, 1)
		for range 3 {
			task.poke(t, mem, []byte("/file\x00"))
			fd := task.must(t, unix.SYS_OPEN, mem, unix.O_RDWR|unix.O_CREAT, 0o600)
			h, err := unix.Open(host, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			owners = append(owners, lockOwner{task, uint64(fd), h})
		}
		for range 4000 {
			o := owners[rnd.IntN(len(owners))]
			l := unix.Flock_t{
				Type:  []int16{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK, 7}[min(rnd.IntN(12)%3+rnd.IntN(30)/29, 3)],
				Start: int64(rnd.IntN(40) - 2), Len: int64(rnd.IntN(24) - 4), Whence: int16(rnd.IntN(20) / 19 * 2),
			}
			switch rnd.IntN(40) {
			case 0:
				l.Start = 1<<63 - 5
			case 1:
				l.Len = 1<<63 - 1
			case 2:
				l.Whence = 3
			}
			cmd := []int{fOFDGetlk, fOFDSetlk}[rnd.IntN(2)]
			b := make([]byte, flockSize)
			le.PutUint16(b, uint16(l.Type))
			le.PutUint16(b[2:], uint16(l.Whence))
			le.PutUint64(b[8:], uint64(l.Start))
			le.PutUint64(b[16:], uint64(l.Len))
			o.task.poke(t, mem, b)
			what := fmt.Sprintf("fcntl %d of %+v", cmd, l)
			what = fmt.Sprintf("owner %d: %s", o.fd, what)
			_, g := o.task.do(unix.SYS_FCNTL, o.fd, uint64(cmd), mem)
			log = append(log, what+" "+g.Error())
			err := unix.FcntlFlock(uintptr(o.host), cmd, &l)
			if g != asErrno(err) {
				t.Fatalf("%s\n%s: the guest says %v, the host %v", strings.Join(log[max(0, len(log)-40):], "\n"), what, g, err)
			}
			if got := o.task.peek(t, mem, flockSize); g == 0 && cmd == fOFDGetlk && (int16(le.Uint16(got)) != l.Type ||
				l.Type != unix.F_UNLCK && (int64(le.Uint64(got[8:])) != l.Start || int64(le.Uint64(got[16:])) != l.Len || int32(le.Uint32(got[24:])) != l.Pid)) {
				t.Fatalf("%s: the guest has %x, the host %+v", what, got, l)
			}
			if rnd.IntN(50) == 0 { // a close gives up what the open file has
				i := rnd.IntN(len(owners))
				o := &owners[i]
				unix.Close(o.host)
				o.task.must(t, unix.SYS_CLOSE, o.fd)
				var err error
				if o.host, err = unix.Open(host, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
					t.Fatal(err)
				}
				o.task.poke(t, mem, []byte("/file\x00"))
				o.fd = uint64(o.task.must(t, unix.SYS_OPEN, mem, unix.O_RDWR, 0))
			}
		}
		for _, o := range owners {
			unix.Close(o.host)
		}
	}
}

// Two processes that each wait for what the other has locked: the second is told
// so. A close of any descriptor of the file gives the locks of a process up, and
// whoever waits for them goes on.
func TestPosixLocksOfProcesses(t *testing.T) {
	k, _ := newBareKernel(t, 1<<20)
	var tasks [2]*Task
	var fd, mem [2]uint64
	for i := range tasks {
		tasks[i] = newBareTask(t, k)
		mem[i] = tasks[i].anon(t, 1)
		tasks[i].poke(t, mem[i], []byte("/file\x00"))
		fd[i] = uint64(tasks[i].must(t, unix.SYS_OPEN, mem[i], unix.O_RDWR|unix.O_CREAT, 0o600))
	}
	lock := func(i int, cmd uint64, kind int16, start uint64) unix.Errno {
		b := make([]byte, flockSize)
		le.PutUint16(b, uint16(kind))
		le.PutUint64(b[8:], start)
		le.PutUint64(b[16:], 1)
		tasks[i].poke(t, mem[i], b)
		_, e := tasks[i].do(unix.SYS_FCNTL, fd[i], cmd, mem[i])
		return e
	}
	for i := range tasks {
		if e := lock(i, unix.F_SETLK, unix.F_WRLCK, uint64(i)); e != 0 {
			t.Fatal(e)
		}
	}
	if e := lock(0, unix.F_SETLK, unix.F_RDLCK, 1); e != unix.EAGAIN {
		t.Errorf("a lock that another process has: %v", e)
	}
	if e := lock(0, unix.F_SETLKW, unix.F_WRLCK, 1); e != errBlocked {
		t.Fatalf("waiting for a lock: %v", e)
	}
	if e := lock(1, unix.F_SETLKW, unix.F_WRLCK, 0); e != unix.EDEADLK {
		t.Errorf("each waits for the other: %v", e)
	}
	if e := lock(1, unix.F_GETLK, unix.F_WRLCK, 0); e != 0 || int(le.Uint32(tasks[1].peek(t, mem[1]+24, 4))) != tasks[0].pid {
		t.Errorf("whose lock it is: %v, %x", e, tasks[1].peek(t, mem[1], flockSize))
	}
	other := uint64(tasks[1].must(t, unix.SYS_DUP, fd[1]))
	tasks[1].must(t, unix.SYS_CLOSE, other)
	if tasks[0].state != taskRunnable {
		t.Error("the lock was given up and the one that waits for it sleeps on")
	}
	k.attempt(tasks[0])
	if e := lock(1, unix.F_SETLK, unix.F_RDLCK, 1); e != unix.EAGAIN {
		t.Errorf("the lock after it has changed hands: %v", e)
	}
	k.exit(tasks[0], 0)
	if e := lock(1, unix.F_SETLK, unix.F_WRLCK, 1); e != 0 {
		t.Errorf("the lock of a process that is over: %v", e)
	}
}

// Locks of whole files against the host's.
func TestFlockAgainstHost(t *testing.T) {
	host := filepath.Join(t.TempDir(), "file")
	k, _ := newBareKernel(t, 1<<20)
	task := newBareTask(t, k)
	mem := task.anon(t, 1)
	task.poke(t, mem, []byte("/file\x00"))
	rnd := rand.New(rand.NewPCG(1, 6))
	var fds [3]uint64
	var files [3]*os.File
	for i := range fds {
		fds[i] = uint64(task.must(t, unix.SYS_OPEN, mem, unix.O_RDWR|unix.O_CREAT, 0o600))
		f, err := os.OpenFile(host, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	for range 1000 {
		i, op := rnd.IntN(3), []int{unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN, 0}[rnd.IntN(4)]|unix.LOCK_NB
		_, g := task.do(unix.SYS_FLOCK, fds[i], uint64(op))
		if err := unix.Flock(int(files[i].Fd()), op); g != asErrno(err) {
			t.Fatalf("flock %d: the guest says %v, the host %v", op, g, err)
		}
	}
}
