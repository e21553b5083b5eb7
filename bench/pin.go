package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"goskas/internal/sys"

	"golang.org/x/sys/unix"
)

// Pin puts every thread of this process, and whatever these start, on the CPU
// where the caller is, and returns its number. unpin lets them go where they
// could go before.
func Pin() (cpu int, unpin func() error, err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return 0, nil, fmt.Errorf("pin: %w", err)
	}
	if cpu, err = sys.CurrentCPU(); err != nil {
		return 0, nil, fmt.Errorf("pin: %w", err)
	}
	var one unix.CPUSet
	one.Set(cpu)
	if err := allThreads(&one); err != nil {
		return 0, nil, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return cpu, func() error {
		if err := allThreads(&before); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
		return nil
	}, nil
}

// allThreads sets the affinity of every thread. A new thread has that of the
// one that started it, so nothing is missed once a look around finds no thread
// that is not done.
func allThreads(set *unix.CPUSet) error {
	done := make(map[int]bool)
	for {
		list, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		missed := false
		for _, e := range list {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || done[tid] {
				continue
			}
			missed, done[tid] = true, true
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if !missed {
			return nil
		}
	}
}
