package skas

import (
	"fmt"

	"goskas/arch"
	"goskas/guard"
	"goskas/internal/sys"
	"goskas/physmem"
	"goskas/stubexe"
	"goskas/stubexe/stubabi"
	"goskas/syscallq"

	"golang.org/x/sys/unix"
)

// posted is UML's protocol, as of Linux 7.2: the stub's pages are frames of
// guest memory like any other, hole and all, and the descriptors of a batch
// are passed over a socket.
type posted struct {
	mem  *physmem.Memory
	arch arch.Arch
	lay  arch.StubLayout
	stub *arch.Stub
	exe  *stubexe.Image
	code physmem.PFN // the stub code page, shared by all stubs
}

func newPosted(mem *physmem.Memory, a arch.Arch, g guard.Guard) (*posted, error) {
	p := &posted{mem: mem, arch: a}
	var err error
	if p.lay, err = Layout(a); err != nil {
		return nil, err
	}
	if p.stub, err = a.Stub(p.lay, len(g.Routed) > 0); err != nil {
		return nil, err
	}
	filter, err := stubexe.Filter(p.lay.Code, a.AuditArch(), g.Routed...)
	if err != nil {
		return nil, err
	}
	return p, p.build(filter)
}

// build makes the image and the code page.
func (p *posted) build(filter []unix.SockFilter) (err error) {
	if p.exe, err = stubexe.Build(p.stub, filter); err != nil {
		return err
	}
	if p.code, err = p.mem.Alloc(); err != nil {
		p.exe.Close()
		return fmt.Errorf("allocate the stub code page: %w", err)
	}
	copy(p.mem.Bytes(p.code), p.stub.Code)
	return nil
}

func (p *posted) layout() arch.StubLayout { return p.lay }
func (p *posted) end() arch.Addr          { return p.lay.Code }

func (p *posted) limits() syscallq.Limits {
	return syscallq.Limits{Entries: stubabi.MaxEntries, Length: uint64(p.lay.Code)}
}

func (p *posted) attend(*VCPU) func() { return func() {} }

func (p *posted) close() error {
	p.mem.Unref(p.code)
	return p.exe.Close()
}

func (p *posted) open(m *Monitor) (link, launch, error) {
	pages, orders, err := p.pages(true)
	if err != nil {
		return nil, nil, err
	}
	l := &postedLink{stubPages: pages}
	l.byWord = byWord{l}
	l.data.Futex.Set(stubabi.InChild)
	return l, m.spawn.launch(p.exe, orders), nil
}

// stubPages are the pages that a stub shares with the monitor.
type stubPages struct {
	*posted
	data   *stubabi.Data // see stubabi for who writes what
	stack  []byte        // the signal stack
	frames physmem.PFN   // the first of the stub data frames
}

// pages takes the pages for one more stub, and orders it to map them.
func (p *posted) pages(seccomp bool) (stubPages, stubexe.Orders, error) {
	frames, err := p.mem.AllocContig(p.lay.DataPages)
	if err != nil {
		return stubPages{}, stubexe.Orders{}, fmt.Errorf("allocate stub data: %w", err)
	}
	shared := p.mem.Range(frames, p.lay.DataPages)
	s := stubPages{posted: p, data: stubabi.DataAt(shared), stack: shared[arch.PageSize:], frames: frames}
	fd, codeOffset := p.mem.PhysMapping(p.code)
	_, dataOffset := p.mem.PhysMapping(frames)
	init := stubabi.InitData{
		Start:      uint64(p.lay.Code),
		CodeFD:     stubabi.FirstFD,
		CodeOffset: uint64(codeOffset),
		DataFD:     stubabi.FirstFD,
		DataOffset: uint64(dataOffset),
		Handler:    uint64(p.lay.Code) + p.stub.Handler,
		Restorer:   uint64(p.lay.Code) + p.stub.Restorer,
	}
	if seccomp {
		init.Seccomp = 1
	}
	return s, stubexe.Orders{FDs: []int{fd}, Init: init.Bytes()}, nil
}

// postedLink is the monitor's side of a stub that speaks UML's protocol.
type postedLink struct {
	byWord
	stubPages
	sender sys.FDSender
	// mctx and x are where the last report's registers lie in stack.
	mctx, x int
	// fs and gs are the bases that the stub has loaded.
	fs, gs uint64
}

func (l *postedLink) word() *stubabi.Word { return &l.data.Futex }

func (l *postedLink) loadX(x []byte)  { l.arch.LoadX(x, l.stack[l.x:]) }
func (l *postedLink) storeX(x []byte) { l.arch.StoreX(l.stack[l.x:], x) }

func (s *stubPages) close() {
	for i := range s.lay.DataPages {
		s.mem.Unref(s.frames + physmem.PFN(i))
	}
}

// first gives the first batch: it takes away everything that the exec has left
// behind.
func (s *stubPages) first(x *MM) error { return x.queue.Unmap(0, uint64(s.lay.Code)) }

// offer is the first half of UML's wake_stub: descriptors first, then the
// batch.
func (l *postedLink) offer(x *MM, alone bool) error {
	if fds := x.queue.FDs(); len(fds) > 0 {
		if err := l.sender.Send(x.proc.Sock, fds); err != nil {
			return fmt.Errorf("pass descriptors: %w", err)
		}
	}
	d := l.data
	d.Len = int32(copy(d.Entries[:], x.queue.Entries()))
	d.Err = 0
	d.Signal = 0
	if alone {
		d.RestartWait = 1
	}
	return nil
}

func (l *postedLink) take(r *report) error {
	d := l.data.Report()
	r.signal, r.at, r.err = unix.Signal(d.Signal), d.Len, d.Err
	r.same = false
	r.ran = r.signal == unix.SIGSYS // nothing else tells it apart
	var err error
	l.mctx, l.x, err = l.frame(d, r)
	return err
}

// frame copies a signal frame into r, and tells where on the signal stack its
// mcontext and its extended state lie. It checks what the stub claims: all of it
// must be there.
func (s *stubPages) frame(d stubabi.Report, r *report) (mctx, x int, err error) {
	if int(d.MCtxOffset)+len(r.mctx) > len(s.stack) {
		return 0, 0, fmt.Errorf("mcontext at offset %#x is not in the signal stack", d.MCtxOffset)
	}
	if int(d.SIOffset)+siginfoSize > len(s.stack) {
		return 0, 0, fmt.Errorf("siginfo at offset %#x is not in the signal stack", d.SIOffset)
	}
	copy(r.mctx, s.stack[d.MCtxOffset:])
	copy(r.info[:], s.stack[d.SIOffset:])

	at, base := s.arch.FrameX(r.mctx), s.lay.Data+arch.PageSize
	if at < base || at&63 != 0 || uint64(at-base)+uint64(s.arch.XSize()) > uint64(len(s.stack)) {
		return 0, 0, fmt.Errorf("extended state at %#x is not in the signal stack", uint64(at))
	}
	return int(d.MCtxOffset), int(at - base), nil
}

func (l *postedLink) registers(rep *report, r *arch.Regs) { l.arch.LoadFrame(rep.mctx, r) }

func (l *postedLink) resume(r *arch.Regs) {
	l.arch.StoreFrame(l.stack[l.mctx:], r)
	if r.FSBase != l.fs {
		l.fs = r.FSBase
		l.data.FSBase = r.FSBase
		l.data.Sync |= stubabi.SyncFS
	}
	if r.GSBase != l.gs {
		l.gs = r.GSBase
		l.data.GSBase = r.GSBase
		l.data.Sync |= stubabi.SyncGS
	}
}

// atMinSigStkSz is the auxiliary vector entry with the size of the largest
// signal frame (AT_MINSIGSTKSZ, linux/auxvec.h; Linux 5.14).
const atMinSigStkSz = 51

// frameSize is the most that one of this host's signal frames takes.
func frameSize(a arch.Arch) (int, error) {
	auxv, err := unix.Auxv()
	if err != nil {
		return 0, fmt.Errorf("read the auxiliary vector: %w", err)
	}
	for _, e := range auxv {
		if e[0] == atMinSigStkSz {
			return int(e[1]), nil
		}
	}
	return a.XSize() + 1024, nil // for kernels that do not say
}

// handlerRoom is what the stub's handler needs below the signal frame.
const handlerRoom = 256

// Layout puts a stub of UML's protocol at the top of the address space: code,
// queue page, and as many pages of signal stack as this host's frames need
// (one, up to AVX-512).
func Layout(a arch.Arch) (arch.StubLayout, error) {
	frame, err := frameSize(a)
	if err != nil {
		return arch.StubLayout{}, err
	}
	stack := (frame + handlerRoom + arch.PageSize - 1) / arch.PageSize
	l := arch.StubLayout{DataPages: 1 + stack}
	l.Code = a.UserTop() - arch.Addr((1+l.DataPages)*arch.PageSize)
	l.Data = l.Code + arch.PageSize
	if stack*arch.PageSize > 1<<16 {
		return l, fmt.Errorf("signal frames of %d bytes are larger than the stub can report", frame)
	}
	return l, nil
}
