package testguest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// A program that was still open for writing in a process that another test was just
// starting could once not be executed (ETXTBSY).
func TestOnHostBesideOthers(t *testing.T) {
	image, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range rounds {
				want := fmt.Sprintln(i)
				if r := OnHost(t, map[string][]byte{"busybox": image}, []string{"busybox", "echo", fmt.Sprint(i)}, nil); r.Status != 0 || r.Out != want {
					t.Errorf("%+v, want %q", r, want)
				}
			}
		})
	}
	wg.Wait()
}
