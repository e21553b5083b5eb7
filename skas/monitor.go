package skas

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"goskas/arch"
	"goskas/physmem"
	"goskas/stubexe"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/unix"
)

// Config is what a Monitor is made of.
type Config struct {
	Memory *physmem.Memory
	Arch   arch.Arch
	// HZ is the tick rate of each vCPU; 0 means no ticks.
	HZ int
	// Log gets deaths of stubs and refused reports; nil discards them.
	Log *slog.Logger
}

// Monitor plays the kernel's part towards its stubs.
type Monitor struct {
	mem    *physmem.Memory
	arch   arch.Arch
	hz     int
	log    *slog.Logger
	layout arch.StubLayout
	stub   *arch.Stub
	image  *stubexe.Image
	code   physmem.PFN // the stub code page, shared by all stubs

	spawn  *spawner
	reaper *reaper

	stats counters

	mu  sync.Mutex
	mms map[*MM]struct{} // not yet destroyed
}

// ErrClosed is returned by a monitor that has been closed.
var ErrClosed = errors.New("monitor is closed")

// New prepares to start stubs: it assembles the stub's code and filter, seals
// its image and starts the threads that fork and reap.
func New(cfg Config) (*Monitor, error) {
	if cfg.Memory == nil || cfg.Arch == nil {
		return nil, errors.New("skas: Config needs Memory and Arch")
	}
	if cfg.HZ < 0 || cfg.HZ > 1000 {
		return nil, fmt.Errorf("skas: HZ %d is not between 0 and 1000", cfg.HZ)
	}
	m := &Monitor{mem: cfg.Memory, arch: cfg.Arch, hz: cfg.HZ, log: cfg.Log, mms: make(map[*MM]struct{})}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if m.layout, err = Layout(cfg.Arch); err != nil {
		return nil, err
	}
	if m.stub, err = cfg.Arch.Stub(m.layout); err != nil {
		return nil, err
	}
	filter, err := stubexe.Filter(m.layout.Code, cfg.Arch.AuditArch())
	if err != nil {
		return nil, err
	}
	if m.image, err = stubexe.Build(m.stub, filter); err != nil {
		return nil, err
	}
	// In UML the stub's pages are frames of physmem like any other; guard
	// none keeps that, hole and all.
	if m.code, err = m.mem.Alloc(); err != nil {
		m.image.Close()
		return nil, fmt.Errorf("allocate the stub code page: %w", err)
	}
	copy(m.mem.Bytes(m.code), m.stub.Code)
	if m.reaper, err = newReaper(); err != nil {
		m.mem.Unref(m.code)
		m.image.Close()
		return nil, err
	}
	m.spawn = newSpawner()
	return m, nil
}

// atMinSigStkSz is the auxiliary vector entry with the size of the largest
// signal frame (AT_MINSIGSTKSZ, linux/auxvec.h; Linux 5.14).
const atMinSigStkSz = 51

// handlerRoom is what the stub's handler needs below the signal frame.
const handlerRoom = 256

// Layout puts the stub at the top of the address space: code, queue page, and
// as many pages of signal stack as this host's frames need (one, up to
// AVX-512).
func Layout(a arch.Arch) (arch.StubLayout, error) {
	auxv, err := unix.Auxv()
	if err != nil {
		return arch.StubLayout{}, fmt.Errorf("read the auxiliary vector: %w", err)
	}
	frame := a.XSize() + 1024 // for kernels that do not say
	for _, e := range auxv {
		if e[0] == atMinSigStkSz {
			frame = int(e[1])
		}
	}
	stack := (frame + handlerRoom + arch.PageSize - 1) / arch.PageSize
	l := arch.StubLayout{DataPages: 1 + stack}
	l.Code = a.UserTop() - arch.Addr((1+l.DataPages)*arch.PageSize)
	l.Data = l.Code + arch.PageSize
	if (l.DataPages-1)*stubabi.PageSize > 1<<16 {
		return l, fmt.Errorf("signal frames of %d bytes are larger than the stub can report", frame)
	}
	return l, nil
}

// Layout is where the stub's pages lie.
func (m *Monitor) Layout() arch.StubLayout { return m.layout }

// End is the end of guest space; a guest address is below it.
func (m *Monitor) End() arch.Addr { return m.layout.Code }

// Arch is the CPU that the monitor was made for.
func (m *Monitor) Arch() arch.Arch { return m.arch }

// Quiesce waits until every stub that was killed has been reaped and its
// memory returned.
func (m *Monitor) Quiesce() { m.reaper.drain() }

// Close kills all stubs that are left and waits for them. No vCPU may be
// running.
func (m *Monitor) Close() error {
	m.mu.Lock()
	left := make([]*MM, 0, len(m.mms))
	for x := range m.mms {
		left = append(left, x)
	}
	m.mu.Unlock()
	for _, x := range left {
		x.Destroy()
	}
	m.Quiesce()
	m.spawn.close()
	m.reaper.close()
	m.mem.Unref(m.code)
	return m.image.Close()
}
