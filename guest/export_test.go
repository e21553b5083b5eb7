package guest

import "goskas/arch"

// FramesInUse counts frames without those that only speed up the next exec, and
// those of files that are still there.
func (k *Kernel) FramesInUse() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropCaches()
	n := k.mem.Stats().InUse
	for _, t := range k.tmps {
		if t != k.shm { // shared memory ends with its last process
			n -= int(t.Used() / arch.PageSize)
		}
	}
	return n
}
