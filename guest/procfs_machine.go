package guest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"goskas/arch"
)

// usedTime is what all processes have used, those that are gone included as far
// as somebody has waited for them.
func (k *Kernel) usedTime() (user, sys time.Duration) {
	for _, p := range k.procs {
		u := p.usedWithKids()
		user += u.utime
		sys += u.stime
	}
	return user, sys
}

// idleTime is what vCPUs have not used since the host's boot, which is the
// guest's.
func (k *Kernel) idleTime() time.Duration {
	user, sys := k.usedTime()
	return max(0, time.Duration(k.cfg.CPUs)*k.now()-user-sys)
}

func (k *Kernel) procUptime() string {
	return fmt.Sprintf("%.2f %.2f\n", k.now().Seconds(), k.idleTime().Seconds())
}

func (k *Kernel) procMeminfo() string {
	st := k.mem.Stats()
	kb := func(frames uint64) uint64 { return frames * arch.PageSize / 1024 }
	total, free := uint64(st.Total), uint64(st.Free)
	var mapped uint64
	for _, p := range k.procs {
		_, rss := p.leader.size()
		mapped += rss >> 10
	}
	var b strings.Builder
	for _, l := range []struct {
		name string
		kb   uint64
	}{
		{"MemTotal", kb(total)}, {"MemFree", kb(free)}, {"MemAvailable", kb(free)},
		{"Buffers", 0}, {"Cached", 0}, {"SwapCached", 0}, {"Active", kb(total - free)}, {"Inactive", 0},
		{"SwapTotal", 0}, {"SwapFree", 0}, {"Dirty", 0}, {"Writeback", 0}, {"AnonPages", 0},
		{"Mapped", min(mapped, kb(total-free))}, {"Shmem", 0}, {"Slab", 0}, {"SReclaimable", 0}, {"SUnreclaim", 0},
		{"CommitLimit", kb(total)}, {"Committed_AS", kb(total - free)},
	} {
		fmt.Fprintf(&b, "%-15s %8d kB\n", l.name+":", l.kb)
	}
	return b.String()
}

func (k *Kernel) procVMStat() string {
	st := k.mem.Stats()
	return fmt.Sprintf("nr_free_pages %d\npgfault %d\npgmajfault 0\npswpin 0\npswpout 0\n", st.Free, k.stats.PageFaults)
}

func (k *Kernel) procStat() string {
	user, sys := k.usedTime()
	row := func(share time.Duration) string {
		return fmt.Sprintf("%d 0 %d %d 0 0 0 0 0 0\n", ticks(user/share), ticks(sys/share), ticks(k.idleTime()/share))
	}
	cpus := time.Duration(k.cfg.CPUs)
	var b strings.Builder
	b.WriteString("cpu  " + row(1))
	for id := range k.cfg.CPUs {
		fmt.Fprintf(&b, "cpu%d %s", id, row(cpus))
	}
	fmt.Fprintf(&b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\nsoftirq 0\n",
		k.stats.Switches, time.Now().Add(-k.now()).Unix(), k.stats.Forks+1, k.runLen+1)
	return b.String()
}

// mountEntry is a line of /proc/mounts.
type mountEntry struct {
	source, at, kind, rights string
}

func (k *Kernel) mountTable() []mountEntry {
	root := mountEntry{"tmpfs", "/", "tmpfs", "rw"}
	if k.cfg.Root != "" {
		root = mountEntry{"host", "/", "hostfs", "ro"}
	}
	binds := make(map[string]bool)
	for _, m := range k.cfg.Binds {
		binds[m.Guest] = m.Write
	}
	list := []mountEntry{root}
	mounts := k.ns.Mounts()
	slices.Sort(mounts)
	for _, m := range mounts {
		e := mountEntry{"tmpfs", m, "tmpfs", "rw"}
		switch m {
		case procDir:
			e.source, e.kind = "proc", "proc"
		case devDir:
			e.source, e.kind = "devtmpfs", "devtmpfs"
		}
		if write, ok := binds[m]; ok {
			e.source, e.kind = "hostfs", "hostfs"
			if !write {
				e.rights = "ro"
			}
		}
		list = append(list, e)
	}
	return list
}

// mountPath escapes what separates fields (mangle in fs/proc_namespace.c).
var mountPath = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

func (k *Kernel) procMounts() string {
	var b strings.Builder
	for _, e := range k.mountTable() {
		fmt.Fprintf(&b, "%s %s %s %s 0 0\n", e.source, mountPath.Replace(e.at), e.kind, e.rights)
	}
	return b.String()
}

// firstMount is the number of the root in mountinfo and fdinfo.
const firstMount = 20

func (k *Kernel) procMountinfo() string {
	var b strings.Builder
	for i, e := range k.mountTable() {
		parent := firstMount
		if i == 0 {
			parent = 1
		}
		fmt.Fprintf(&b, "%d %d 0:%d / %s %s - %s %s %s\n", firstMount+i, parent, firstMount+i, mountPath.Replace(e.at), e.rights, e.kind, e.source, e.rights)
	}
	return b.String()
}

func (k *Kernel) procCPUInfo() string {
	var b strings.Builder
	for id := range k.cfg.CPUs {
		fmt.Fprintf(&b, "processor\t: %d\nvendor_id\t: goskas\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: %s vCPU\nphysical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\nfpu\t\t: yes\n\n",
			id, k.arch.Name(), k.cfg.CPUs, id, k.cfg.CPUs)
	}
	return b.String()
}

func (k *Kernel) procLoadavg() string {
	n := k.runLen + 1
	return fmt.Sprintf("%d.00 %d.00 %d.00 %d/%d %d\n", n, n, n, n, len(k.tasks), k.lastPid)
}
