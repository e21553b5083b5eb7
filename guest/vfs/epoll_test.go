package vfs

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Interest lists that watch each other's files leave nothing behind, in
// whichever order things are closed.
func TestEpollForgets(t *testing.T) {
	for _, first := range []string{"file", "lower list", "upper list"} {
		t.Run(first, func(t *testing.T) {
			counter := NewEventfd(0, false)
			file := NewOpenFile(counter, unix.O_RDWR, nil)
			lower, upper := NewEpoll(), NewEpoll()
			lowerFile, upperFile := NewOpenFile(lower, unix.O_RDWR, nil), NewOpenFile(upper, unix.O_RDWR, nil)
			for _, err := range []error{
				lower.Add(file, 3, unix.EPOLLIN, 0), lower.Add(file, 4, unix.EPOLLIN|unix.EPOLLET, 0),
				upper.Add(file, 3, unix.EPOLLIN, 0), upper.Add(lowerFile, 5, unix.EPOLLIN, 0),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := counter.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			order := []*OpenFile{file, lowerFile, upperFile}
			switch first {
			case "lower list":
				order[0], order[1] = order[1], order[0]
			case "upper list":
				order[0], order[2] = order[2], order[0]
			}
			for _, f := range order {
				if err := f.Unref(); err != nil {
					t.Error(err)
				}
			}
			if !counter.queue.Empty() || !lower.queue.Empty() || !upper.queue.Empty() {
				t.Error("somebody waits still")
			}
			if n := len(file.watches) + len(lowerFile.watches) + len(lower.items) + len(upper.items) + len(lower.above); n != 0 {
				t.Errorf("%d items or links left", n)
			}
			if lower.head != nil || upper.head != nil {
				t.Error("a closed file is ready")
			}
		})
	}
}
