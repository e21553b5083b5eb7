package sys

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfMapAttr and bpfProgAttr are as much of union bpf_attr as BPF_MAP_CREATE and BPF_PROG_LOAD
// need (linux/bpf.h).
type bpfMapAttr struct {
	mapType, keySize, valueSize, maxEntries, flags uint32
}

type bpfProgAttr struct {
	progType, insnCount uint32
	insns, license      unsafe.Pointer
}

// BPFArray makes an eBPF array of 64-bit values and returns its descriptor,
// close-on-exec. The call does not block.
func BPFArray(entries int, flags uint32) (fd int, err error) {
	attr := bpfMapAttr{unix.BPF_MAP_TYPE_ARRAY, 4, 8, uint32(entries), flags}
	return bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// BPFProgram loads an eBPF program and returns its descriptor, close-on-exec.
// EAGAIN, an interrupted verifier, is retried.
func BPFProgram(progType uint32, insns []uint64) (fd int, err error) {
	license := []byte("GPL\x00")
	attr := bpfProgAttr{progType, uint32(len(insns)), unsafe.Pointer(unsafe.SliceData(insns)), unsafe.Pointer(&license[0])}
	for {
		fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		if err != unix.EAGAIN {
			break
		}
	}
	runtime.KeepAlive(insns)
	runtime.KeepAlive(license)
	return fd, err
}

func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
