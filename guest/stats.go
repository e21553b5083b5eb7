package guest

import (
	"maps"
	"time"

	"goskas/physmem"
	"goskas/skas"
)

// counters are the statistics proper, kept under the kernel lock.
type counters struct {
	Syscalls, PageFaults, Ticks, Traps uint64
	MinorFaults, CowFaults, FileFaults uint64
	FilesAround                        uint64
	Switches, Forks, Execs, Signals    uint64
	StubDeaths                         uint64
	// vcpuTime is how long vCPUs have lived; guestTime and idleTime are
	// parts of it, the rest is the monitor's.
	vcpuTime, guestTime, idleTime time.Duration
	calls                         [numCounted]uint64
	unknown                       map[uint64]uint64
}

// Stats is what a machine has done so far.
type Stats struct {
	Syscalls   uint64 `json:"syscalls"`
	PageFaults uint64 `json:"page_faults"`
	Ticks      uint64 `json:"ticks"`
	Traps      uint64 `json:"traps"`
	// How page faults were answered: a fresh page, a copy of a shared one,
	// a page of a file.
	MinorFaults uint64 `json:"minor_faults"`
	CowFaults   uint64 `json:"cow_faults"`
	FileFaults  uint64 `json:"file_faults"`
	// FilesAround counts pages of files that came in beside those.
	FilesAround uint64 `json:"file_pages_around"`
	Switches    uint64 `json:"switches"`
	Forks       uint64 `json:"forks"`
	Execs       uint64 `json:"execs"`
	Signals     uint64 `json:"signals"`
	StubDeaths  uint64 `json:"stub_deaths"`
	// Calls counts by name; Unknown, by number, those that do not exist.
	Calls   map[string]uint64 `json:"calls"`
	Unknown map[uint64]uint64 `json:"unknown,omitempty"`

	// Where the time went, added up over vCPUs.
	GuestTime   time.Duration `json:"guest_ns"`
	MonitorTime time.Duration `json:"monitor_ns"`
	IdleTime    time.Duration `json:"idle_ns"`

	Memory physmem.Stats `json:"memory"`
	Skas   skas.Stats    `json:"skas"`
}

// Stats may be called at any time.
func (k *Kernel) Stats() Stats {
	k.mu.Lock()
	c := &k.stats
	s := Stats{
		Syscalls: c.Syscalls, PageFaults: c.PageFaults, Ticks: c.Ticks, Traps: c.Traps,
		MinorFaults: c.MinorFaults, CowFaults: c.CowFaults, FileFaults: c.FileFaults, FilesAround: c.FilesAround,
		Switches: c.Switches, Forks: c.Forks, Execs: c.Execs, Signals: c.Signals,
		StubDeaths: c.StubDeaths,
		GuestTime:  c.guestTime, IdleTime: c.idleTime, MonitorTime: c.vcpuTime - c.guestTime - c.idleTime,
		Calls:   make(map[string]uint64),
		Unknown: maps.Clone(c.unknown),
	}
	for nr, n := range c.calls {
		if n > 0 && nr < len(table) && table[nr].fn != nil {
			s.Calls[table[nr].name] = n
		}
	}
	k.mu.Unlock()
	s.Memory = k.mem.Stats()
	if k.mon != nil {
		s.Skas = k.mon.Stats()
	}
	return s
}
