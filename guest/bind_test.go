package guest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"goskas/arch"
	"goskas/internal/testkit"
)

// bindTree is a directory of the host to bind, beside a secret.
func bindTree(t *testing.T) (outer, shown string) {
	t.Helper()
	outer = t.TempDir()
	shown = filepath.Join(outer, "shown")
	testkit.Plant(t, outer, map[string]string{"secret/file": "secret", "shown/file": "shown", "shown/dir/file": "deeper"})
	for name, target := range map[string]string{"out": "../secret", "far": filepath.Join(outer, "secret"), "link": "file"} {
		if err := os.Symlink(target, filepath.Join(shown, name)); err != nil {
			t.Fatal(err)
		}
	}
	return outer, shown
}

// bound is a task of a guest that has a directory of the host at /bind.
func bound(t *testing.T, shown string, write bool) *Task {
	t.Helper()
	k, _ := newBareKernel(t, 4<<20)
	if err := k.ns.Root().Node.Mkdir("bind", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := k.bind(Bind{Host: shown, Guest: "/bind", Write: write}); err != nil {
		t.Fatal(err)
	}
	return newBareTask(t, k)
}

// pathCalls are the system calls that change something by its name: two names,
// the second below the first call's memory, and the rest of the arguments.
var pathCalls = []struct {
	name string
	nr   uint64
	args func(path, other uint64) []uint64
}{
	{"open for writing", unix.SYS_OPEN, func(p, _ uint64) []uint64 { return []uint64{p, unix.O_WRONLY} }},
	{"open and truncate", unix.SYS_OPEN, func(p, _ uint64) []uint64 { return []uint64{p, unix.O_RDWR | unix.O_TRUNC} }},
	{"create", unix.SYS_OPEN, func(p, _ uint64) []uint64 { return []uint64{p, unix.O_WRONLY | unix.O_CREAT, 0o666} }},
	{"create anew", unix.SYS_OPEN, func(p, _ uint64) []uint64 {
		return []uint64{p, unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, 0o666}
	}},
	{"unnamed", unix.SYS_OPEN, func(p, _ uint64) []uint64 { return []uint64{p, unix.O_RDWR | unix.O_TMPFILE, 0o666} }},
	{"truncate", unix.SYS_TRUNCATE, func(p, _ uint64) []uint64 { return []uint64{p, 1} }},
	{"mkdir", unix.SYS_MKDIR, func(p, _ uint64) []uint64 { return []uint64{p, 0o777} }},
	{"rmdir", unix.SYS_RMDIR, func(p, _ uint64) []uint64 { return []uint64{p} }},
	{"unlink", unix.SYS_UNLINK, func(p, _ uint64) []uint64 { return []uint64{p} }},
	{"rename", unix.SYS_RENAME, func(p, o uint64) []uint64 { return []uint64{p, o} }},
	{"rename to", unix.SYS_RENAME, func(p, o uint64) []uint64 { return []uint64{o, p} }},
	{"exchange", unix.SYS_RENAMEAT2, func(p, o uint64) []uint64 {
		return []uint64{^uint64(99), p, ^uint64(99), o, unix.RENAME_EXCHANGE}
	}},
	{"link", unix.SYS_LINK, func(p, o uint64) []uint64 { return []uint64{p, o} }},
	{"link to", unix.SYS_LINK, func(p, o uint64) []uint64 { return []uint64{o, p} }},
	{"symlink", unix.SYS_SYMLINK, func(p, o uint64) []uint64 { return []uint64{o, p} }},
	{"chmod", unix.SYS_CHMOD, func(p, _ uint64) []uint64 { return []uint64{p, 0o600} }},
	{"chown", unix.SYS_CHOWN, func(p, _ uint64) []uint64 { return []uint64{p, 1, 1} }},
	{"lchown", unix.SYS_LCHOWN, func(p, _ uint64) []uint64 { return []uint64{p, 1, 1} }},
	{"utimes", unix.SYS_UTIME, func(p, _ uint64) []uint64 { return []uint64{p, 0} }},
	{"mknod", unix.SYS_MKNOD, func(p, _ uint64) []uint64 { return []uint64{p, unix.S_IFIFO | 0o666} }},
	{"device", unix.SYS_MKNOD, func(p, _ uint64) []uint64 { return []uint64{p, unix.S_IFCHR | 0o666, 0x103} }},
	{"setxattr", unix.SYS_SETXATTR, func(p, o uint64) []uint64 { return []uint64{p, o, o, 1, 0} }},
}

// everyCall makes all of pathCalls, and writes to whatever it could open.
func (t *Task) everyCall(tb testing.TB, mem uint64, path, other string) map[string]unix.Errno {
	tb.Helper()
	results := make(map[string]unix.Errno)
	for _, c := range pathCalls {
		t.poke(tb, mem, append([]byte(path), 0))
		t.poke(tb, mem+arch.PageSize, append([]byte(other), 0))
		v, e := t.do(c.nr, c.args(mem, mem+arch.PageSize)...)
		results[c.name] = e
		if c.nr == unix.SYS_OPEN && e == 0 {
			fd := uint64(v)
			t.do(unix.SYS_WRITE, fd, mem, 3)
			t.do(unix.SYS_FTRUNCATE, fd, 2)
			t.do(unix.SYS_FCHMOD, fd, 0o640)
			t.do(unix.SYS_FCHOWN, fd, 2, 2)
			t.do(unix.SYS_FALLOCATE, fd, 0, 0, 9)
			t.must(tb, unix.SYS_CLOSE, fd)
		}
	}
	return results
}

// A directory that is bound read-only cannot be changed in any way.
func TestReadOnlyBindCannotBeChanged(t *testing.T) {
	outer, shown := bindTree(t)
	before := testkit.Tree(t, outer)
	task := bound(t, shown, false)
	mem := task.anon(t, 3)
	for _, path := range []string{"/bind/file", "/bind/dir", "/bind/new", "/bind/dir/file", "/bind/link", "/bind/out", "/bind/dir/new", "/bind/out/file", "/bind/far/file"} {
		for _, other := range []string{"/bind/other", "/bind/dir/other", "/bind/file"} {
			for name, e := range task.everyCall(t, mem, path, other) {
				// Links that lead out lead to the guest's own files.
				if e == 0 && !strings.HasPrefix(path, "/bind/out") && !strings.HasPrefix(path, "/bind/far") {
					t.Errorf("%s of %s and %s was allowed", name, path, other)
				}
			}
		}
	}
	// Nor through what was opened for reading.
	task.poke(t, mem, []byte("/bind/file\x00"))
	fd := uint64(task.must(t, unix.SYS_OPEN, mem, unix.O_RDONLY))
	for _, c := range []struct {
		nr   uint64
		args []uint64
		want unix.Errno
	}{
		{unix.SYS_WRITE, []uint64{fd, mem, 1}, unix.EBADF},
		{unix.SYS_FTRUNCATE, []uint64{fd, 0}, unix.EINVAL},
		{unix.SYS_FALLOCATE, []uint64{fd, 0, 0, 9}, unix.EBADF},
		{unix.SYS_FCHMOD, []uint64{fd, 0}, unix.EROFS},
		{unix.SYS_FCHOWN, []uint64{fd, 1, 1}, unix.EROFS},
		{unix.SYS_UTIMENSAT, []uint64{fd, 0, 0, 0}, unix.EROFS},
		{unix.SYS_MMAP, []uint64{0, 1, readWrite, unix.MAP_SHARED, fd, 0}, unix.EACCES},
	} {
		if _, e := task.do(c.nr, c.args...); e != c.want {
			t.Errorf("%s: %v, want %v", table[c.nr].name, e, c.want)
		}
	}
	at := task.mapFile(t, fd, 1, readWrite, unix.MAP_PRIVATE)
	task.poke(t, at, []byte("changed"))
	if diff := cmp.Diff(before, testkit.Tree(t, outer)); diff != "" {
		t.Errorf("the host's files have changed:\n%s", diff)
	}
}

// Whatever links say, and however fast somebody on the host puts a link in the
// place of a directory, nothing outside of the directory that is bound is read or
// changed.
func TestBindHoldsAgainstLinks(t *testing.T) {
	outer, shown := bindTree(t)
	before := testkit.Tree(t, filepath.Join(outer, "secret"))
	task := bound(t, shown, true)
	mem := task.anon(t, 3)
	for _, path := range []string{"/bind/out/file", "/bind/far/file", "/bind/out", "/bind/../../secret/file", "/bind/dir/../../secret/file"} {
		task.everyCall(t, mem, path, "/bind/dir/other")
	}
	// "race" is now a directory with a file, now a link to the secret.
	real, link := filepath.Join(shown, "race"), filepath.Join(shown, "swap")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outer, "secret"), link); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	swaps := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				swaps <- n
				return
			default:
			}
			// The guest renames these, too: then there is nothing to swap.
			if unix.Renameat2(unix.AT_FDCWD, real, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
	}()
	rnd := rand.New(rand.NewPCG(1, 1))
	names := []string{"/bind/race/file", "/bind/race/new", "/bind/race/other", "/bind/swap/file"}
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
		task.everyCall(t, mem, names[rnd.IntN(len(names))], names[rnd.IntN(len(names))])
		task.poke(t, mem, append([]byte(names[0]), 0))
		if fd, e := task.do(unix.SYS_OPEN, mem, unix.O_RDONLY); e == 0 {
			// It may be a directory: the calls make some.
			n, e := task.do(unix.SYS_READ, uint64(fd), mem+arch.PageSize, 100)
			if e == 0 && string(task.peek(t, mem+arch.PageSize, int(n))) == "secret" {
				t.Error("the guest has read the secret")
				break
			}
			task.must(t, unix.SYS_CLOSE, uint64(fd))
		}
	}
	close(stop)
	if n := <-swaps; n == 0 {
		t.Error("nothing was ever swapped")
	}
	if diff := cmp.Diff(before, testkit.Tree(t, filepath.Join(outer, "secret"))); diff != "" {
		t.Errorf("what is outside has changed:\n%s", diff)
	}
}

// No program of the host becomes set-user-ID because a guest says so, and no
// device is made.
func TestBindLendsNoRights(t *testing.T) {
	_, shown := bindTree(t)
	task := bound(t, shown, true)
	mem := task.anon(t, 1)
	call := func(want unix.Errno, nr uint64, path string, args ...uint64) {
		t.Helper()
		task.poke(t, mem, append([]byte(path), 0))
		if _, e := task.do(nr, append([]uint64{mem}, args...)...); e != want {
			t.Errorf("%s %s %#o: %v, want %v", table[nr].name, path, args, e, want)
		}
	}
	call(unix.EPERM, unix.SYS_CHMOD, "/bind/file", 0o4755)
	call(unix.EPERM, unix.SYS_CHMOD, "/bind/file", 0o2755)
	call(unix.EPERM, unix.SYS_OPEN, "/bind/new", unix.O_CREAT|unix.O_WRONLY, 0o4755)
	call(unix.EPERM, unix.SYS_MKNOD, "/bind/dev", unix.S_IFCHR|0o666, 0x103)
	call(unix.EPERM, unix.SYS_MKNOD, "/bind/fifo", unix.S_IFIFO|0o666)
	call(0, unix.SYS_CHMOD, "/bind/file", 0o755)
	call(0, unix.SYS_MKDIR, "/bind/d", 0o777)
	if fi, err := os.Stat(filepath.Join(shown, "d")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the new directory: %v, %v; want what the guest's umask leaves", fi.Mode(), err)
	}
}
