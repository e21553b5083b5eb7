package guest

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"goskas/arch"
	"goskas/guest/loader"
	"goskas/guest/vfs"

	"golang.org/x/sys/unix"
)

// StartError says that a program could not be run; Errno is what execve gave,
// Reason what is wrong with the file, if it is the file.
type StartError struct {
	Path   string
	Errno  unix.Errno
	Reason string
}

func (e *StartError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("cannot run %s: %s", e.Path, e.Reason)
	case e.Errno == unix.ENOENT:
		return fmt.Sprintf("%s: not found", e.Path)
	}
	return fmt.Sprintf("cannot run %s: %v", e.Path, e.Errno)
}

func (e *StartError) Unwrap() error { return e.Errno }

// program is an opened and checked executable.
type program struct {
	file *vfs.OpenFile
	path string
	img  *loader.Image
}

// readerAt lets the loader read a guest file.
type readerAt struct{ f vfs.File }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// openProgram finds and checks an executable. The caller owns its file.
func (k *Kernel) openProgram(t *Task, path string) (*program, error) {
	fail := func(e unix.Errno, reason string) (*program, error) {
		return nil, &StartError{Path: path, Errno: e, Reason: reason}
	}
	d, err := t.fs.ns.Walk(t.fs.cwd, path, true)
	if err != nil {
		return fail(accessErrno(err), "")
	}
	st, err := d.Node.Stat()
	switch {
	case err != nil:
		return fail(accessErrno(err), "")
	case st.IsDir():
		return fail(unix.EACCES, "it is a directory")
	case st.Type() != unix.S_IFREG:
		return fail(unix.EACCES, "it is no regular file")
	case st.Mode&0o111 == 0:
		return fail(unix.EACCES, "permission denied (it is not executable)")
	}
	f, err := d.Node.Open(unix.O_RDONLY)
	if err != nil {
		return fail(accessErrno(err), "")
	}
	o := vfs.NewOpenFile(f, unix.O_RDONLY, d)
	img, err := loader.Parse(readerAt{f}, st.Size, loader.Target{
		Machine: k.arch.Machine(), Class: k.arch.Class(), Top: k.userTop(),
	})
	if err != nil {
		_ = o.Unref() // it was only read
		var bad *loader.Error
		if errors.As(err, &bad) {
			return fail(unix.ENOEXEC, bad.Reason)
		}
		return fail(accessErrno(err), "")
	}
	return &program{file: o, path: k.ns.Path(d), img: img}, nil
}

// userTop is the end of guest space.
func (k *Kernel) userTop() arch.Addr { return k.mon.End() }

// pendingExec is a program that is ready to replace another.
type pendingExec struct {
	space *Space
	path  string
	argv  []string
	start startState
	comm  string
}

// prepare makes everything for a new program of t; nothing of the old is
// touched. The reason of a failure is left in k.startErr.
func (k *Kernel) prepare(t *Task, path string, argv, envp []string) (*pendingExec, unix.Errno) {
	k.startErr = nil
	fail := func(err error) (*pendingExec, unix.Errno) {
		var s *StartError
		if errors.As(err, &s) {
			k.startErr = s
			return nil, s.Errno
		}
		k.startErr = &StartError{Path: path, Errno: unix.ENOMEM, Reason: err.Error()}
		return nil, unix.ENOMEM
	}
	p, err := k.openProgram(t, path)
	if err != nil {
		return fail(err)
	}
	defer p.file.Unref()
	var interp *program
	if p.img.Interp != "" {
		if interp, err = k.openProgram(t, p.img.Interp); err != nil {
			var s *StartError
			if errors.As(err, &s) {
				s.Reason = fmt.Sprintf("its program interpreter %s: %v", p.img.Interp, s.Errno)
				s.Path = path
			}
			return fail(err)
		}
		defer interp.file.Unref()
	}
	s, err := k.newSpace()
	if err != nil {
		return fail(err)
	}
	start, err := s.load(p, interp, argv, envp)
	if err != nil {
		s.unref()
		return fail(err)
	}
	return &pendingExec{space: s, path: p.path, argv: argv, start: start}, 0
}

// commit gives t, the only thread left, its new program.
func (x *pendingExec) commit(t *Task) {
	x.space.stackLimit = t.rlimits[unix.RLIMIT_STACK].Cur
	t.setImage(x.space, x.path, x.argv)
	t.comm = x.comm
	t.regs = arch.Regs{}
	t.k.arch.Start(&t.regs, x.start.entry, x.start.sp)
}

// startState is where a fresh program begins.
type startState struct {
	entry, sp arch.Addr
}

// load puts a program, and its interpreter if it has one, into an empty space.
func (s *Space) load(p, interp *program, argv, envp []string) (startState, error) {
	bias := arch.Addr(0)
	if p.img.PIE {
		bias = pieBase - p.img.Start
		if p.img.Interp == "" && p.img.Start >= minAddr {
			bias = 0
		}
	}
	if err := s.mapImage(p, bias); err != nil {
		return startState{}, err
	}
	end := p.img.End + bias
	s.brkStart, s.brk = end, end
	entry := p.img.Entry + bias
	base := arch.Addr(0)
	if interp != nil {
		size := uint64(interp.img.End - interp.img.Start)
		at, ok := s.vmas.gap(minAddr, s.mmapTop, size)
		if !ok {
			return startState{}, &StartError{Path: p.path, Errno: unix.ENOMEM, Reason: "no room for its program interpreter"}
		}
		base = at - interp.img.Start
		if err := s.mapImage(interp, base); err != nil {
			return startState{}, err
		}
		entry = interp.img.Entry + base
	}
	s.vdso = s.mapVDSO()
	sp, err := s.buildStack(p, bias, base, argv, envp)
	return startState{entry, sp}, err
}

// mapImage maps an image's segments at a bias.
func (s *Space) mapImage(p *program, bias arch.Addr) error {
	for _, seg := range p.img.Segments {
		start := (seg.Addr + bias).PageDown()
		fileEnd, _ := (seg.Addr + bias + arch.Addr(seg.FileSize)).PageUp()
		end, ok := (seg.Addr + bias + arch.Addr(seg.MemSize)).PageUp()
		if !ok || end > s.mmapTop || start < minAddr || len(s.vmas.in(start, end)) > 0 {
			return &StartError{Path: p.path, Errno: unix.ENOMEM, Reason: fmt.Sprintf("a segment at %#x does not fit into guest space", uint64(start))}
		}
		acc := access(uint64(seg.Access))
		if seg.FileSize > 0 {
			f, e := s.k.newFileMapping(p.file, p.path)
			if e != 0 {
				return &StartError{Path: p.path, Errno: e}
			}
			s.vmas.put(&vma{start: start, end: fileEnd, acc: acc, file: f, name: p.path,
				offset: seg.Offset - seg.Addr.PageOffset()})
		} else {
			fileEnd = start
		}
		// Zeros behind the file's bytes are written now, as Linux does.
		if tail := seg.Addr + bias + arch.Addr(seg.FileSize); seg.FileSize > 0 && seg.MemSize > seg.FileSize &&
			tail.PageOffset() != 0 && acc&arch.Write != 0 {
			if _, err := s.table().CopyOut(tail, make([]byte, fileEnd-tail)); err != nil {
				return err
			}
		}
		if end > fileEnd {
			s.vmas.put(&vma{start: fileEnd, end: end, acc: acc})
		}
	}
	return nil
}

// lookPath finds a program by name the way a shell does: in the directories of
// PATH. A name with a slash, or that is nowhere, is returned as it is.
func (k *Kernel) lookPath(t *Task, name string, env []string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	for _, e := range env {
		dirs, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range strings.Split(dirs, ":") {
			path := dir + "/" + name
			d, err := t.fs.ns.Walk(t.fs.cwd, path, true)
			if err != nil {
				continue
			}
			if st, err := d.Node.Stat(); err == nil && st.Type() == unix.S_IFREG && st.Mode&0o111 != 0 {
				return path
			}
		}
	}
	return name
}
