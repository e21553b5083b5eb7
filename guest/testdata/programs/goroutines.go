// Command goroutines is a static Go program that keeps its runtime busy: channels
// between many goroutines, garbage, timers, and locks that are fought over.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	pipeline()
	garbage()
	timers()
	locks()
	if len(os.Args) > 1 {
		return
	}
	out, err := exec.Command(os.Args[0], "again").CombinedOutput()
	fmt.Println("child:", strings.Count(string(out), "\n"), err)
	os.Exit(5)
}

// pipeline finds primes with a goroutine for each.
func pipeline() {
	c := make(chan int)
	go func(out chan int) {
		for i := 2; ; i++ {
			out <- i
		}
	}(c)
	var primes []int
	for range 60 {
		p := <-c
		primes = append(primes, p)
		next := make(chan int)
		go func(in, out chan int) {
			for n := range in {
				if n%p != 0 {
					out <- n
				}
			}
		}(c, next)
		c = next
	}
	fmt.Println("primes:", primes[len(primes)-3:])
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return new(tree)
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) size() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.size() + t.right.size()
}

func garbage() {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	total := 0
	for range 40 {
		total += grow(13).size()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	fmt.Println("nodes:", total, "collected:", after.NumGC > before.NumGC)
}

func timers() {
	// The functions of two that are late run in any order.
	var early, fired atomic.Int64
	var wg sync.WaitGroup
	for _, n := range []int{5, 1, 4, 2, 3} {
		wg.Add(1)
		start, d := time.Now(), time.Duration(n)*40*time.Millisecond
		time.AfterFunc(d, func() {
			if time.Since(start) < d {
				early.Add(1)
			}
			fired.Add(1)
			wg.Done()
		})
	}
	wg.Wait()
	fmt.Println("timers:", early.Load(), fired.Load())
	tick := time.NewTicker(5 * time.Millisecond)
	for range 5 {
		<-tick.C
	}
	tick.Stop()
	select {
	case <-make(chan int):
	case <-time.After(10 * time.Millisecond):
		fmt.Println("timed out")
	}
}

func locks() {
	var mu sync.RWMutex
	var n int
	var sum atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 200 {
				if i%4 == 0 {
					mu.Lock()
					n++
					mu.Unlock()
				} else {
					mu.RLock()
					sum.Add(int64(n - n + 1))
					mu.RUnlock()
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	fmt.Println("locks:", n, sum.Load())
}
