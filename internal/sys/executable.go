package sys

import (
	"os"
	"syscall"
)

// WriteExecutable writes a file that can be executed at once. Linux refuses that
// (ETXTBSY) as long as anybody has it open for writing, and a process that is being
// started has all that we have, until it executes (golang.org/issue/22315): so
// nobody starts one meanwhile.
func WriteExecutable(name string, image []byte, perm os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(name, image, perm)
}
