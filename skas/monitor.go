package skas

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"goskas/arch"
	"goskas/guard"
	"goskas/physmem"
)

// Config is what a Monitor is made of.
type Config struct {
	Memory *physmem.Memory
	Arch   arch.Arch
	// HZ is the tick rate of each vCPU; 0 means no ticks.
	HZ int
	// CPUs is how many vCPUs there will be at most; 0 means any number. A
	// single one keeps its stubs traced in mode ptrace: from its first Run of
	// an mm on, its goroutine alone may operate that.
	CPUs int
	// Leaves promises that whoever runs a vCPU calls VCPU.Leave when it turns
	// from a task to anything else. In mode ptrace several vCPUs then trace a
	// stub for as long as they run its task, not for one Run only.
	Leaves bool
	Mode   Mode
	// Guard decides which mapping calls of stubs are legitimate; the zero
	// value stands for guard.Default. Mode ptrace has none.
	Guard guard.Guard
	// Stall is what to do about stubs that do not report a tick.
	Stall Stall
	// NoSyncWake leaves the guards' listener without its synchronous
	// wake-up (Linux 6.6), so that the difference can be measured.
	NoSyncWake bool
	// Log gets deaths of stubs and refused reports; nil discards them.
	Log *slog.Logger
}

// Monitor plays the kernel's part towards its stubs.
type Monitor struct {
	mem   *physmem.Memory
	arch  arch.Arch
	hz    int
	log   *slog.Logger
	mode  Mode
	cpus  int
	vcpus atomic.Int32 // that are not closed
	guard guard.Guard
	stall Stall
	// syncWake has listeners answer with a wake-up on the caller's CPU.
	syncWake bool
	protocol protocol

	spawn  *spawner
	reaper *reaper
	// watchdog is idle unless it is the stall policy; auditor is nil under
	// guard none.
	watchdog watchdog
	auditor  *auditor
	// auditing is held while the auditor may hold a turnstile: who tries for one
	// under it fails only for a stub that somebody operates.
	auditing sync.Mutex

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
	m := &Monitor{mem: cfg.Memory, arch: cfg.Arch, hz: cfg.HZ, log: cfg.Log,
		mode: cfg.Mode, cpus: cfg.CPUs,
		guard: cfg.Guard.Chosen(), stall: cfg.Stall, syncWake: !cfg.NoSyncWake, mms: make(map[*MM]struct{})}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.stall == StallDefault {
		m.stall = StallCPU
		if cfg.Guard.String() == guard.None.String() {
			m.stall = StallOff // as in UML
		}
	}
	var err error
	m.protocol, err = m.newProtocol(cfg)
	if err != nil {
		return nil, err
	}
	if m.reaper, err = newReaper(); err != nil {
		return nil, errors.Join(err, m.protocol.close())
	}
	m.spawn = newSpawner()
	if m.stall == StallWatchdog {
		m.watchdog.start(m.tickPeriod())
	}
	if m.guard.String() != guard.None.String() {
		m.auditor = m.startAuditor()
	}
	return m, nil
}

// Layout is where the stub's pages lie.
func (m *Monitor) Layout() arch.StubLayout { return m.protocol.layout() }

// End is the end of guest space; a guest address is below it.
func (m *Monitor) End() arch.Addr { return m.protocol.end() }

// Arch is the CPU that the monitor was made for.
func (m *Monitor) Arch() arch.Arch { return m.arch }

// live lists the mms that are not destroyed.
func (m *Monitor) live() []*MM { return m.appendLive(nil) }

func (m *Monitor) appendLive(list []*MM) []*MM {
	m.mu.Lock()
	defer m.mu.Unlock()
	for x := range m.mms {
		list = append(list, x)
	}
	return list
}

// Quiesce waits until every stub that was killed has been reaped and its
// memory and descriptors returned.
func (m *Monitor) Quiesce() { m.reaper.drain() }

// Close kills all stubs that are left and waits for them. No vCPU may be
// running.
func (m *Monitor) Close() error {
	for _, x := range m.live() {
		x.Destroy()
	}
	m.Quiesce()
	m.spawn.close()
	m.watchdog.close()
	if m.auditor != nil {
		m.auditor.close()
	}
	m.reaper.close()
	return m.protocol.close()
}
