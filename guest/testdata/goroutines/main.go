package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type node struct {
	left, right *node
	data        [32]byte
}

func tree(n int) *node {
	if n == 0 {
		return &node{}
	}
	return &node{left: tree(n - 1), right: tree(n - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func main() {
	runtime.GOMAXPROCS(4)
	var wg sync.WaitGroup
	results := make([]int, 16)
	for i := range results {
		wg.Go(func() {
			for range 5 {
				results[i] += tree(10).count()
			}
		})
	}
	wg.Wait()
	runtime.GC()
	fmt.Println(results)
	c := make(chan int)
	go func() {
		defer close(c)
		for i := range 10000 {
			c <- i
		}
	}()
	sum := 0
	for v := range c {
		sum += v
	}
	fmt.Println("sum", sum)
	start := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	for range 20 {
		<-tick.C
	}
	fmt.Println("ticks", time.Since(start) >= 40*time.Millisecond)
	select {
	case <-time.After(10 * time.Millisecond):
		fmt.Println("timeout")
	case <-make(chan int):
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-sig)
	done := make(chan bool)
	go func() { // preempted by a signal
		for !stopped {
			spins++
		}
	}()
	go func() {
		runtime.GC()
		done <- true
	}()
	<-done
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	fmt.Println("collected", ms.NumGC > 2)
	func() {
		defer func() { fmt.Println("recovered:", recover()) }()
		var p *node
		fmt.Println(p.data[3])
	}()
	os.Exit(4)
}

var stopped bool
var spins int
