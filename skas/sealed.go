package skas

import (
	"fmt"
	"sync/atomic"

	"goskas/arch"
	"goskas/physmem"
	"goskas/stubexe"
	"goskas/stubexe/stubabi"
	"goskas/syscallq"

	"golang.org/x/sys/unix"
)

// sealed is the protocol of guard sealed. The stub's pages lie in a memory of
// their own, which no stub keeps a descriptor of: a guest frame can never be
// one of them. Guest memory is the stub's one descriptor, so nothing has to be
// passed with a batch.
type sealed struct {
	mem   *physmem.Memory // guest memory
	pages *physmem.Memory // the stubs' pages: the template's code, the code, then those of each stub
	read  int             // pages again, opened read-only
	arch  arch.Arch
	lay   arch.StubLayout
	stub  *arch.Stub
	exe   *stubexe.Image
	// program is the size of the start-up program with the filter, bytes.
	program  int
	template template
}

// codePages are the first of the stub pages: the template's code, and the code.
const codePages = 2

// maxSealedStubs bounds the memory for stub pages. It is not touched before
// there is a stub.
const maxSealedStubs = 8192

func newSealed(mem *physmem.Memory, a arch.Arch) (s *sealed, err error) {
	s = &sealed{mem: mem, arch: a, read: -1}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lay, err = SealedLayout(a); err != nil {
		return nil, err
	}
	if s.stub, err = a.Sealed(s.lay); err != nil {
		return nil, err
	}
	filter, err := stubexe.SealedFilter(s.lay, s.stub, a.AuditArch())
	if err != nil {
		return nil, err
	}
	s.program = len(s.stub.Program) + len(filter)*unix.SizeofSockFilter
	if s.exe, err = stubexe.Build(s.stub, filter); err != nil {
		return nil, err
	}
	perStub := int64(1+s.dataPages()) * arch.PageSize
	if s.pages, err = physmem.New(codePages*arch.PageSize + maxSealedStubs*perStub); err != nil {
		return nil, fmt.Errorf("memory for stub pages: %w", err)
	}
	first, err := s.pages.AllocContig(codePages)
	if err != nil || first != 0 {
		return nil, fmt.Errorf("first of the stub pages is %d: %w", first, err)
	}
	copy(s.pages.Bytes(0), s.stub.Template)
	copy(s.pages.Bytes(1), s.stub.Code)
	fd, _ := s.pages.PhysMapping(0)
	if s.read, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open the stub pages read-only (needs /proc): %w", err)
	}
	return s, nil
}

func (s *sealed) layout() arch.StubLayout { return s.lay }
func (s *sealed) end() arch.Addr          { return stubexe.SealedGuestEnd }
func (s *sealed) dataPages() int          { return 1 + s.lay.StackPages }

func (s *sealed) limits() syscallq.Limits {
	return syscallq.Limits{Entries: stubabi.MaxSealedEntries, Length: stubabi.MaxSealedLength}
}

func (s *sealed) attend(*VCPU) func() { return func() {} }

func (s *sealed) close() error {
	for pfn := range physmem.PFN(codePages) {
		s.pages.Unref(pfn)
	}
	return s.release()
}

func (s *sealed) release() (err error) {
	if s.read >= 0 {
		err = unix.Close(s.read)
	}
	if s.pages != nil {
		err = firstError(err, s.pages.Close())
	}
	if s.exe != nil {
		err = firstError(err, s.exe.Close())
	}
	return err
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *sealed) open(m *Monitor) (link, launch, error) {
	l, err := s.newLink()
	return l, func(x *MM) error { return s.template.launch(s, l, x) }, err
}

func (s *sealed) newLink() (*sealedLink, error) {
	first, err := s.pages.AllocContig(1 + s.dataPages())
	if err != nil {
		return nil, fmt.Errorf("allocate stub pages: %w", err)
	}
	shared := s.pages.Range(first, 1+s.dataPages())
	l := &sealedLink{
		sealed:  s,
		first_:  first,
		control: stubabi.ControlAt(shared),
		data:    stubabi.SealedDataAt(shared[arch.PageSize:]),
		stack:   shared[2*arch.PageSize:],
	}
	l.byWord = byWord{l}
	return l, nil
}

// offsets says where in the memory for stub pages the stub's own lie.
func (l *sealedLink) offsets() stubabi.SealedInit {
	_, control := l.pages.PhysMapping(l.first_)
	_, data := l.pages.PhysMapping(l.first_ + 1)
	return stubabi.SealedInit{ControlOffset: uint64(control), DataOffset: uint64(data)}
}

// sealedLink is the monitor's side of a sealed stub.
type sealedLink struct {
	byWord
	*sealed
	first_  physmem.PFN // of the stub's pages
	control *stubabi.Control
	data    *stubabi.SealedData
	stack   []byte // the signal stack
	regs    arch.Regs
	// fs and gs are the bases that the stub has loaded, if loaded is set: a
	// tick on the way to the guest may have come before or after that.
	fs, gs uint64
	loaded bool
}

func (l *sealedLink) word() *stubabi.Word { return &l.data.Futex }

// on is the part of the signal stack that starts at an address on it.
func (l *sealedLink) on(a arch.Addr) []byte { return l.stack[a-l.lay.Stack:] }

func (l *sealedLink) loadX(x []byte)  { l.arch.LoadX(x, l.on(l.stub.Sealed.X)) }
func (l *sealedLink) storeX(x []byte) { l.arch.StoreX(l.on(l.stub.Sealed.X), x) }

func (l *sealedLink) close() {
	for i := range 1 + l.dataPages() {
		l.pages.Unref(l.first_ + physmem.PFN(i))
	}
}

// start waits for the fault behind the last call of the template's code, which
// takes that code away.
func (l *sealedLink) start(x *MM) error {
	if err := l.wait(x, nil); err != nil {
		return err
	}
	if err := x.take(); err != nil {
		return err
	}
	off, _ := l.stub.TemplateLabel("past-leave")
	if pc := l.arch.PC(&l.regs); x.report.signal != unix.SIGSEGV || pc != l.lay.Template()+arch.Addr(off) {
		return x.refuse("first report is signal %d at %#x, not SIGSEGV behind the template's last call", x.report.signal, uint64(pc))
	}
	return nil
}

func (l *sealedLink) first(*MM) error { return nil }

// offer publishes the batch. From then on guest code could run its entries, if
// it runs at all.
func (l *sealedLink) offer(x *MM, alone bool) error {
	l.control.Publish(x.queue.Entries(), alone)
	return nil
}

// take leaves the stub nothing to map before it looks at the report: what
// follows may change the page table.
func (l *sealedLink) take(r *report) error {
	l.control.Retract()
	d := l.data.Report()
	*r = report{signal: unix.Signal(d.Signal), mctx: r.mctx}
	switch d.Kind {
	case stubabi.ReportRan:
		r.signal, r.ran = 0, true
		return nil
	case stubabi.ReportSame:
		r.signal, r.same = unix.SIGALRM, true
		l.loaded = false
		return nil
	case stubabi.ReportFresh:
	default:
		return fmt.Errorf("report of kind %d", d.Kind)
	}
	copy(r.mctx, l.on(l.stub.Sealed.MContext))
	copy(r.info[:], l.on(l.stub.Sealed.Info))
	l.arch.LoadFrame(r.mctx, &l.regs)
	// Anywhere else above guest space there is nothing that could run.
	if pc := l.arch.PC(&l.regs); pc-l.lay.Code < arch.PageSize {
		return fmt.Errorf("signal %d with the instruction pointer at %#x, in the stub's code", r.signal, uint64(pc))
	}
	if l.stub.Sealed.Bases {
		l.fs, l.gs = d.FSBase, d.GSBase
	}
	l.loaded = true
	return nil
}

func (l *sealedLink) registers(rep *report, r *arch.Regs) {
	l.arch.LoadFrame(rep.mctx, r)
	if l.stub.Sealed.Bases {
		r.FSBase, r.GSBase = l.fs, l.gs
	}
}

func (l *sealedLink) resume(r *arch.Regs) {
	l.arch.StoreReturn(&l.data.Regs, l.on(l.stub.Sealed.Return), r)
	var set uint32
	if !l.loaded || r.FSBase != l.fs || r.GSBase != l.gs {
		set = 1
		l.data.NewFSBase, l.data.NewGSBase = l.base(r.FSBase), l.base(r.GSBase)
		l.fs, l.gs = r.FSBase, r.GSBase
	}
	atomic.StoreUint32(&l.data.SetBases, set)
}

// base is a segment base that the CPU takes: others fault where they are
// loaded.
func (l *sealedLink) base(a uint64) uint64 {
	if a >= uint64(l.arch.UserTop()) {
		return 0
	}
	return a
}

// SealedLayout puts a sealed stub at the top of the address space: code,
// control page, data page, and a signal stack for three frames: that of the
// guest, that of a tick in the stub's own code, and one more.
func SealedLayout(a arch.Arch) (arch.StubLayout, error) {
	frame, err := frameSize(a)
	if err != nil {
		return arch.StubLayout{}, err
	}
	const frames, minPages = 3, 4
	l := arch.StubLayout{DataPages: 1}
	l.StackPages = max(minPages, (frames*(frame+handlerRoom)+arch.PageSize-1)/arch.PageSize)
	l.Code = a.UserTop() - arch.Addr((3+l.StackPages)*arch.PageSize) // the template's page lies below
	l.Control = l.Code + arch.PageSize
	l.Data = l.Control + arch.PageSize
	l.Stack = l.Data + arch.PageSize
	return l, nil
}
