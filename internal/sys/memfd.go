package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// SealedExec puts image into an executable memfd that nobody can change any
// more.
func SealedExec(name string, image []byte) (fd int, err error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC came with Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for done := 0; done < len(image); {
		n, err := unix.Pwrite(fd, image[done:], int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, fmt.Errorf("write %s: %w", name, err)
		}
		done += n
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal %s: %w", name, err)
	}
	return fd, nil
}
