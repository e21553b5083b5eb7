package guest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/arch"
)

// filesPair is a guest's writable tree and a directory of the host: the same
// calls on both must give the same results and the same errnos.
type filesPair struct {
	*testing.T
	rnd  *rand.Rand
	task *Task
	mem  uint64   // pages for arguments and results
	host int      // directory descriptor
	home filePair // where both began
	fds  []filePair
	log  []string
}

type filePair struct {
	guest uint64
	host  int
}

// Where arguments lie in filesPair.mem.
const (
	atPath   = 0
	atOther  = 3 * arch.PageSize
	atBuffer = 6 * arch.PageSize
	memPages = 12
)

var pathParts = []string{"a", "b", "c", "d", "a", "b", "c", "e", ".", "..", strings.Repeat("n", 255), strings.Repeat("n", 256)}

func (p *filesPair) path() string {
	var parts []string
	dots := 0
	for range 1 + p.rnd.IntN(3) {
		part := pathParts[p.rnd.IntN(8)]
		if p.rnd.IntN(8) == 0 {
			part = pathParts[p.rnd.IntN(len(pathParts))]
		}
		if part == ".." {
			dots++
		}
		parts = append(parts, part)
	}
	if dots > 1 || p.rnd.IntN(200) == 0 {
		return ""
	}
	path := strings.Join(parts, "/")
	if p.rnd.IntN(8) == 0 {
		path += "/"
	}
	return path
}

func (p *filesPair) guestCall(nr uint64, a ...uint64) (int64, unix.Errno) { return p.task.do(nr, a...) }

func (p *filesPair) put(off uint64, s string) uint64 {
	p.task.poke(p.T, p.mem+off, append([]byte(s), 0))
	return p.mem + off
}

func asErrno(err error) unix.Errno {
	e, _ := err.(unix.Errno)
	return e
}

func (p *filesPair) compare(what string, guest, host unix.Errno, results ...any) bool {
	p.log = append(p.log, fmt.Sprintf("%s: %v", what, host))
	p.log = p.log[max(0, len(p.log)-60):]
	if guest != host {
		p.fail("%s: the guest says %v, the host %v", what, guest, host)
	}
	for i := 0; guest == 0 && i < len(results); i += 2 {
		if fmt.Sprint(results[i]) != fmt.Sprint(results[i+1]) {
			p.fail("%s: the guest has %v, the host %v", what, results[i], results[i+1])
		}
	}
	return guest == 0
}

func (p *filesPair) fail(format string, args ...any) {
	p.Helper()
	for _, line := range p.log {
		p.Log(strings.ReplaceAll(line, strings.Repeat("n", 255), "N"))
	}
	p.Fatalf(strings.ReplaceAll(format, strings.Repeat("n", 255), "N"), args...)
}

// status is what both trees have to agree on in a stat.
func status(st *unix.Stat_t) string {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0 // of directories, every file system has its own idea
	}
	return fmt.Sprintf("mode %o, %d links, %d bytes", st.Mode, st.Nlink, size)
}

func (p *filesPair) guestStat(at uint64) *unix.Stat_t {
	b := p.task.peek(p.T, at, statSize)
	return &unix.Stat_t{
		Nlink: binary.LittleEndian.Uint64(b[16:]), Mode: binary.LittleEndian.Uint32(b[24:]),
		Size: int64(binary.LittleEndian.Uint64(b[48:])),
	}
}

func (p *filesPair) step() {
	path, other := p.path(), p.path()
	at, buf := p.put(atPath, path), p.mem+atBuffer
	mode := uint32(p.rnd.IntN(8)<<6 | 0o55)
	switch p.rnd.IntN(16) {
	case 14:
		p.chdir(at, path)
	case 15:
		p.getcwd()
	case 0, 1:
		_, g := p.guestCall(unix.SYS_MKDIR, at, uint64(mode))
		p.compare(fmt.Sprintf("mkdir %q", path), g, asErrno(unix.Mkdirat(p.host, path, mode)))
	case 2:
		_, g := p.guestCall(unix.SYS_RMDIR, at)
		p.compare(fmt.Sprintf("rmdir %q", path), g, asErrno(unix.Unlinkat(p.host, path, unix.AT_REMOVEDIR)))
	case 3, 4, 5:
		p.open(path, at, mode)
	case 6:
		_, g := p.guestCall(unix.SYS_UNLINK, at)
		p.compare(fmt.Sprintf("unlink %q", path), g, asErrno(unix.Unlinkat(p.host, path, 0)))
	case 7:
		flags := uint64(p.rnd.IntN(4)) // RENAME_NOREPLACE and RENAME_EXCHANGE, also both
		_, g := p.guestCall(unix.SYS_RENAMEAT2, unix.AT_FDCWD&(1<<64-1), at, unix.AT_FDCWD&(1<<64-1), p.put(atOther, other), flags)
		p.compare(fmt.Sprintf("rename %q %q, flags %d", path, other, flags), g,
			asErrno(unix.Renameat2(p.host, path, p.host, other, uint(flags))))
	case 8:
		_, g := p.guestCall(unix.SYS_LINK, at, p.put(atOther, other))
		p.compare(fmt.Sprintf("link %q %q", path, other), g, asErrno(unix.Linkat(p.host, path, p.host, other, 0)))
	case 9:
		target := strings.ReplaceAll(other, "..", "a") // links lead down only
		_, g := p.guestCall(unix.SYS_SYMLINK, p.put(atOther, target), at)
		p.compare(fmt.Sprintf("symlink %q %q", target, path), g, asErrno(unix.Symlinkat(target, p.host, path)))
	case 10:
		n, g := p.guestCall(unix.SYS_READLINK, at, buf, 300)
		b := make([]byte, 300)
		m, err := unix.Readlinkat(p.host, path, b)
		p.compare(fmt.Sprintf("readlink %q", path), g, asErrno(err), string(p.task.peek(p.T, buf, int(n))), string(b[:max(m, 0)]))
	case 11:
		flags := p.rnd.IntN(2) * unix.AT_SYMLINK_NOFOLLOW
		_, g := p.guestCall(unix.SYS_NEWFSTATAT, unix.AT_FDCWD&(1<<64-1), at, buf, uint64(flags))
		var st unix.Stat_t
		err := unix.Fstatat(p.host, path, &st, flags)
		p.compare(fmt.Sprintf("stat %q, flags %#x", path, flags), g, asErrno(err), status(p.guestStat(buf)), status(&st))
	case 12:
		p.list()
	case 13:
		p.useFile()
	}
}

// chdir goes into a directory, or back to where both began.
func (p *filesPair) chdir(at uint64, path string) {
	if p.host != p.home.host {
		unix.Close(p.host)
		p.host = p.home.host
		p.task.must(p.T, unix.SYS_FCHDIR, p.home.guest)
		return
	}
	if strings.Contains(path, "..") {
		return
	}
	_, g := p.guestCall(unix.SYS_CHDIR, at)
	fd, err := unix.Openat(p.host, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if p.compare(fmt.Sprintf("chdir %q", path), g, asErrno(err)) {
		p.host = fd
	}
}

// getcwd tells where a directory is by now, if it is still anywhere.
func (p *filesPair) getcwd() {
	name := func(fd int) string {
		path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			p.Fatal(err)
		}
		return path
	}
	want, gone := strings.CutSuffix(name(p.host), " (deleted)")
	n, g := p.guestCall(unix.SYS_GETCWD, p.mem+atBuffer, 4*arch.PageSize)
	err := unix.Errno(0)
	if gone {
		err = unix.ENOENT
	}
	if p.compare("getcwd", g, err) {
		_, got, _ := strings.Cut(string(p.task.peek(p.T, p.mem+atBuffer, int(n)-1)), "/1/2/3/4/5")
		_, want, _ := strings.Cut(want, "/1/2/3/4/5")
		p.compare("getcwd", 0, 0, got, want)
	}
}

func (p *filesPair) open(path string, at uint64, mode uint32) {
	flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[p.rnd.IntN(3)]
	for _, f := range []int{unix.O_CREAT, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_APPEND} {
		if p.rnd.IntN(4) == 0 {
			flags |= f
		}
	}
	if flags&unix.O_CREAT == 0 {
		flags &^= unix.O_EXCL // undefined without
	} else {
		flags &^= unix.O_DIRECTORY // EINVAL since Linux 6.4
	}
	fd, g := p.guestCall(unix.SYS_OPEN, at, uint64(flags), uint64(mode))
	hostFD, err := unix.Openat(p.host, path, flags|unix.O_CLOEXEC, mode)
	if p.compare(fmt.Sprintf("open %q, flags %#x, mode %o", path, flags, mode), g, asErrno(err)) {
		p.fds = append(p.fds, filePair{uint64(fd), hostFD})
	}
	if len(p.fds) > 6 {
		f := p.fds[0]
		p.fds = p.fds[1:]
		_, g := p.guestCall(unix.SYS_CLOSE, f.guest)
		p.compare("close", g, asErrno(unix.Close(f.host)))
	}
}

// useFile works on an open file, which may have lost its name.
func (p *filesPair) useFile() {
	if len(p.fds) == 0 {
		return
	}
	f := p.fds[p.rnd.IntN(len(p.fds))]
	buf := p.mem + atBuffer
	size := p.rnd.IntN(3 * arch.PageSize)
	switch p.rnd.IntN(6) {
	case 0, 1:
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(p.rnd.Uint32())
		}
		p.task.poke(p.T, buf, data)
		n, g := p.guestCall(unix.SYS_WRITE, f.guest, buf, uint64(size))
		m, err := unix.Write(f.host, data)
		p.compare(fmt.Sprintf("write of %d", size), g, asErrno(err), n, m)
	case 2:
		n, g := p.guestCall(unix.SYS_READ, f.guest, buf, uint64(size))
		data := make([]byte, size)
		m, err := unix.Read(f.host, data)
		p.compare(fmt.Sprintf("read of %d", size), g, asErrno(err), n, m, p.task.peek(p.T, buf, int(n)), data[:max(m, 0)])
	case 3:
		off, whence := int64(p.rnd.IntN(20000)-2000), p.rnd.IntN(3)
		var st unix.Stat_t
		if unix.Fstat(f.host, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			off, whence = 0, 0 // positions in directories mean nothing else
		}
		n, g := p.guestCall(unix.SYS_LSEEK, f.guest, uint64(off), uint64(whence))
		m, err := unix.Seek(f.host, off, whence)
		p.compare(fmt.Sprintf("lseek %d, %d", off, whence), g, asErrno(err), n, m)
	case 4:
		n := int64(p.rnd.IntN(20000) - 500)
		_, g := p.guestCall(unix.SYS_FTRUNCATE, f.guest, uint64(n))
		p.compare(fmt.Sprintf("ftruncate %d", n), g, asErrno(unix.Ftruncate(f.host, n)))
	case 5:
		_, g := p.guestCall(unix.SYS_FSTAT, f.guest, buf)
		var st unix.Stat_t
		err := unix.Fstat(f.host, &st)
		p.compare("fstat", g, asErrno(err), status(p.guestStat(buf)), status(&st))
	}
}

// list compares the names in the working directory.
func (p *filesPair) list() {
	fd, g := p.guestCall(unix.SYS_OPEN, p.put(atPath, "."), unix.O_RDONLY|unix.O_DIRECTORY)
	hostFD, err := unix.Openat(p.host, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if !p.compare("open .", g, asErrno(err)) {
		return
	}
	var names []string
	for {
		n, g := p.guestCall(unix.SYS_GETDENTS64, uint64(fd), p.mem+atBuffer, uint64(280+p.rnd.IntN(200)))
		if g != 0 {
			p.fail("getdents64: %v", g)
		}
		if n == 0 {
			break
		}
		for b := p.task.peek(p.T, p.mem+atBuffer, int(n)); len(b) > 0; b = b[binary.LittleEndian.Uint16(b[16:]):] {
			name, _, _ := strings.Cut(string(b[direntHead:binary.LittleEndian.Uint16(b[16:])]), "\x00")
			if name != "." && name != ".." {
				names = append(names, name)
			}
		}
	}
	p.guestCall(unix.SYS_CLOSE, uint64(fd))
	d := os.NewFile(uintptr(hostFD), "host")
	defer d.Close()
	want, err := d.Readdirnames(-1)
	if err != nil {
		p.Fatal(err)
	}
	slices.Sort(names)
	slices.Sort(want)
	p.compare("list", 0, 0, names, want)
}

// The tree in memory, and a directory of the host that the guest can change, behave
// as the host's file systems do, call by call.
func TestFilesLikeTheHost(t *testing.T) {
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	for _, bind := range []bool{false, true} {
		for seed := range uint64(8) {
			likeTheHost(t, bind, seed)
		}
	}
}

func likeTheHost(t *testing.T, bind bool, seed uint64) {
	k, _ := newBareKernel(t, 16<<20)
	p := &filesPair{T: t, rnd: rand.New(rand.NewPCG(seed, 3)), task: newBareTask(t, k)}
	p.mem = p.task.anon(t, memPages)
	if bind {
		if err := k.ns.Root().Node.Mkdir("bind", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := k.bind(Bind{Host: t.TempDir(), Guest: "/bind", Write: true}); err != nil {
			t.Fatal(err)
		}
		p.task.must(t, unix.SYS_CHDIR, p.put(atPath, "/bind"))
	}
	// Deep enough that no path leads out of what both have alike.
	const deep = "1/2/3/4/5"
	dir := t.TempDir()
	for i, c := range deep + "/" {
		if c == '/' {
			p.task.must(t, unix.SYS_MKDIR, p.put(atPath, deep[:i]), 0o755)
		}
	}
	if err := os.MkdirAll(dir+"/"+deep, 0o755); err != nil {
		t.Fatal(err)
	}
	p.task.must(t, unix.SYS_CHDIR, p.put(atPath, deep))
	var err error
	if p.host, err = unix.Open(dir+"/"+deep, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	p.home = filePair{uint64(p.task.must(t, unix.SYS_OPEN, p.put(atPath, "."), unix.O_RDONLY)), p.host}
	for range 4000 {
		p.step()
	}
	for _, f := range p.fds {
		unix.Close(f.host)
	}
	if p.host != p.home.host {
		unix.Close(p.host)
	}
	unix.Close(p.home.host)
}
