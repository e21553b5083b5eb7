package guest

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"goskas/guest/vfs"
)

// Inode numbers in /proc: those of a process begin at its number times this.
const procInodes = 1 << 16

// text is a generated file.
func text(ino uint64, content func() string) *vfs.Text {
	return &vfs.Text{Ino: ino, Content: func() ([]byte, error) { return []byte(content()), nil }}
}

func link(ino uint64, target func() (string, error)) *vfs.Link {
	return &vfs.Link{Ino: ino, Target: target}
}

// procDevices names the majors of /dev.
const procDevices = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"

// procRoot is /proc.
func (k *Kernel) procRoot() vfs.Node {
	fixed := map[string]vfs.Node{
		"self": link(2, func() (string, error) {
			if k.current == nil {
				return "", unix.ENOENT
			}
			return strconv.Itoa(k.current.pid), nil
		}),
		"meminfo":     text(3, k.procMeminfo),
		"uptime":      text(4, k.procUptime),
		"stat":        text(5, k.procStat),
		"version":     text(6, func() string { return fmt.Sprintf("%s version %s %s\n", unameSysname, unameRelease, unameVersion) }),
		"mounts":      text(7, k.procMounts),
		"cpuinfo":     text(8, k.procCPUInfo),
		"loadavg":     text(9, k.procLoadavg),
		"filesystems": text(10, func() string { return "nodev\tproc\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\thostfs\n" }),
		"cmdline":     text(11, func() string { return "goskas\n" }),
		"swaps":       text(12, func() string { return "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" }),
		"devices":     text(13, func() string { return procDevices }),
		"vmstat":      text(14, k.procVMStat),
		"thread-self": link(15, func() (string, error) {
			if k.current == nil {
				return "", unix.ENOENT
			}
			return fmt.Sprintf("%d/task/%d", k.current.pid, k.current.tid), nil
		}),
		"sys": k.procSys(),
	}
	root := vfs.Entries(1, fixed)
	find, list := root.Find, root.List
	root.Find = func(name string) (vfs.Node, error) {
		if pid, err := strconv.Atoi(name); err == nil && strconv.Itoa(pid) == name {
			if t := k.tasks[pid]; t != nil {
				return t.procDir(), nil // of a thread, too, though List has none
			}
		}
		return find(name)
	}
	root.List = func() []vfs.Dirent {
		entries := list()
		for _, pid := range slices.Sorted(maps.Keys(k.procs)) {
			entries = append(entries, vfs.Dirent{Ino: uint64(pid) * procInodes, Type: unix.DT_DIR, Name: strconv.Itoa(pid)})
		}
		return entries
	}
	return root
}

// procSys is the little of /proc/sys that programs ask for.
func (k *Kernel) procSys() vfs.Node {
	ino := uint64(20)
	dir := func(nodes map[string]vfs.Node) vfs.Node {
		ino++
		return vfs.Entries(ino, nodes)
	}
	line := func(s func() string) vfs.Node {
		ino++
		return text(ino, func() string { return s() + "\n" })
	}
	fixed := func(s string) vfs.Node { return line(func() string { return s }) }
	kernel := dir(map[string]vfs.Node{
		"ostype":       fixed(unameSysname),
		"osrelease":    fixed(unameRelease),
		"version":      fixed(unameVersion),
		"hostname":     line(func() string { return k.hostname }),
		"domainname":   line(func() string { return k.domain }),
		"pid_max":      fixed(strconv.Itoa(maxPid + 1)),
		"threads-max":  fixed(strconv.Itoa(k.maxTasks)),
		"cap_last_cap": fixed(strconv.Itoa(unix.CAP_LAST_CAP)),
		"ngroups_max":  fixed("65536"),
		"core_pattern": fixed("core"),
		// What a program is told about randomness of addresses is true: there
		// is none.
		"randomize_va_space": fixed("0"),
		"pty":                dir(map[string]vfs.Node{"max": fixed(strconv.Itoa(maxPTYs)), "nr": line(func() string { return strconv.Itoa(len(k.tty.ptys)) })}),
		"random": dir(map[string]vfs.Node{
			"uuid":          line(randomUUID),
			"boot_id":       fixed(randomUUID()),
			"poolsize":      fixed("256"),
			"entropy_avail": fixed("256"),
		}),
	})
	vm := dir(map[string]vfs.Node{
		"overcommit_memory": fixed("1"),
		"overcommit_ratio":  fixed("50"),
		"max_map_count":     fixed("65530"),
		"mmap_min_addr":     fixed("65536"),
		"swappiness":        fixed("60"),
	})
	fs := dir(map[string]vfs.Node{
		"file-max":      fixed("9223372036854775807"),
		"nr_open":       fixed(strconv.Itoa(maxFiles)),
		"pipe-max-size": fixed("1048576"),
	})
	net := dir(map[string]vfs.Node{
		"core": dir(map[string]vfs.Node{"somaxconn": fixed("4096")}),
		"unix": dir(map[string]vfs.Node{"max_dgram_qlen": fixed("10")}),
	})
	return dir(map[string]vfs.Node{"kernel": kernel, "vm": vm, "fs": fs, "net": net})
}

// randomUUID is a version 4 UUID.
func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
