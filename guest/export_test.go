package guest

// FramesInUse counts frames without those that only speed up the next exec.
func (k *Kernel) FramesInUse() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropMemCache()
	return k.mem.Stats().InUse
}
