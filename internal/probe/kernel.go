package probe

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"goskas/internal/abi"
	"goskas/internal/sys"
	"goskas/stubexe/stubabi"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Futex is sleeping on a word of shared memory that cannot be resized, and being
// woken through another mapping of it.
var Futex = Feature{
	Name: "futexes in sealed shared memory", Since: Version{3, 17},
	Advice: "use a newer kernel",
	test: func() (string, error) {
		fd, err := unix.MemfdCreate("skas-probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			return "", lackOn(err, unix.ENOSYS, unix.EINVAL)
		}
		defer unix.Close(fd)
		if err := unix.Ftruncate(fd, stubabi.PageSize); err != nil {
			return "", err
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
			return "", lackOn(err, unix.EINVAL, unix.EPERM)
		}
		var words [2]*stubabi.Word
		for i := range words {
			page, err := unix.Mmap(fd, 0, stubabi.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return "", err
			}
			defer unix.Munmap(page)
			words[i] = &stubabi.DataAt(page).Futex
		}
		return "", wakeThrough(words[0], words[1])
	},
}

// wakeThrough sleeps on one word and wakes through the other.
func wakeThrough(sleep, wake *stubabi.Word) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	deadline := time.Duration(now.Nano()) + timeout
	done := make(chan unix.Errno, 1)
	go func() {
		for {
			errno := sys.FutexWait(sleep.Addr(), uint32(sleep.Get()), deadline)
			if errno != unix.EINTR {
				done <- errno
				return
			}
		}
	}()
	for {
		sys.FutexWake(wake.Addr(), 1)
		select {
		case errno := <-done:
			if errno != 0 {
				return lackOn(errno, unix.ENOSYS, unix.EINVAL, unix.ETIMEDOUT)
			}
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

// CloseRange is closing descriptors wholesale.
var CloseRange = Feature{
	Name: "close_range", Since: Version{5, 9},
	Advice: "use a newer kernel; in a container, allow close_range(2)",
	test: func() (string, error) {
		// No descriptor has a number that high.
		return "", lackOn(unix.CloseRange(math.MaxUint32-1, math.MaxUint32, 0), unix.ENOSYS)
	},
}

// Openat2 is looking names up below a root that they cannot leave.
var Openat2 = Feature{
	Name: "openat2 with RESOLVE_IN_ROOT", Since: Version{5, 6},
	Advice: "use a newer kernel; in a container, allow openat2(2)",
	test: func() (string, error) {
		dir, err := os.MkdirTemp("", "skas-probe-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(root)
		var inside, found unix.Stat_t
		fd, err := unix.Openat2(root, "../..", &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT,
		})
		if err != nil {
			return "", lackOn(err, unix.ENOSYS, unix.EINVAL, unix.E2BIG)
		}
		defer unix.Close(fd)
		if err := errors.Join(unix.Fstat(root, &inside), unix.Fstat(fd, &found)); err != nil {
			return "", err
		}
		if inside.Dev != found.Dev || inside.Ino != found.Ino {
			return "", lack(errors.New("a name led out of its root"))
		}
		return "", nil
	},
}

// auxv is an entry of the auxiliary vector.
func auxv(key uintptr) (value uintptr, ok bool, err error) {
	vec, err := unix.Auxv()
	if err != nil {
		return 0, false, fmt.Errorf("read the auxiliary vector: %w", err)
	}
	for _, e := range vec {
		if e[0] == key {
			return e[1], true, nil
		}
	}
	return 0, false, nil
}

// FSGSBase is setting the fs and gs bases without a system call.
var FSGSBase = Feature{
	Name: "FSGSBASE in user mode", Since: Version{5, 9}, Varies: true,
	Advice: "use a newer kernel and a CPU of 2012 or later, without nofsgsbase; the bases then cost a system call less",
	test: func() (string, error) {
		if err := amd64Host(); err != nil {
			return "", err
		}
		caps, _, err := auxv(abi.AT_HWCAP2)
		if err != nil {
			return "", err
		}
		if caps&abi.HWCAP2_FSGSBASE == 0 {
			return "", lack(fmt.Errorf("AT_HWCAP2 is %#x", caps))
		}
		return "", nil
	},
}

// MinSigStkSz is the kernel telling how large a signal frame is.
var MinSigStkSz = Feature{
	Name: "size of signal frames (AT_MINSIGSTKSZ)", Since: Version{5, 14},
	Advice: "use a newer kernel; until then the size is estimated from the CPU's",
	test: func() (string, error) {
		size, ok, err := auxv(abi.AT_MINSIGSTKSZ)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", lack(errors.New("not in the auxiliary vector"))
		}
		return fmt.Sprintf("%d bytes", size), nil
	},
}

// XSave is the CPU and the kernel keeping extended state in the XSAVE layout.
var XSave = Feature{
	Name: "XSAVE", Varies: true,
	Advice: "use a CPU of 2010 or later, without noxsave",
	test: func() (string, error) {
		if err := amd64Host(); err != nil {
			return "", err
		}
		if !cpu.X86.HasOSXSAVE {
			return "", lack(errors.New("CPUID does not show OSXSAVE"))
		}
		parts := []string{"SSE"}
		for _, e := range []struct {
			name string
			has  bool
		}{{"AVX", cpu.X86.HasAVX}, {"AVX-512", cpu.X86.HasAVX512F}} {
			if e.has {
				parts = append(parts, e.name)
			}
		}
		return strings.Join(parts, ", "), nil
	},
}

// EBPF is loading a program and mapping an array into memory.
var EBPF = Feature{
	Name: "eBPF programs and mappable arrays", Since: Version{5, 5}, Varies: true,
	Advice: "run as root or with CAP_BPF; use a kernel with CONFIG_BPF_SYSCALL",
	test: func() (string, error) {
		array, err := sys.BPFArray(512, unix.BPF_F_MMAPABLE)
		if err != nil {
			return "", lackOn(fmt.Errorf("array: %w", err), unix.ENOSYS, unix.EINVAL, unix.EPERM)
		}
		defer unix.Close(array)
		page, err := unix.Mmap(array, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return "", lack(fmt.Errorf("map array: %w", err))
		}
		defer unix.Munmap(page)
		program, err := sys.BPFProgram(unix.BPF_PROG_TYPE_SOCKET_FILTER, []uint64{
			0xb7, // r0 = 0
			0x95, // exit
		})
		if err != nil {
			return "", lackOn(fmt.Errorf("program: %w", err), unix.ENOSYS, unix.EINVAL, unix.EPERM)
		}
		return "", unix.Close(program)
	},
}
