package skas

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"goskas/stubexe"

	"golang.org/x/sys/unix"
)

// spawner forks stubs from one thread that lives as long as the monitor: a
// stub dies with the thread that forked it (PR_SET_PDEATHSIG is per thread).
type spawner struct {
	requests chan spawnRequest
}

type spawnRequest struct {
	image  *stubexe.Image
	orders stubexe.Orders
	reply  chan<- spawnReply
}

type spawnReply struct {
	p   stubexe.Process
	err error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest)}
	go func() {
		// Never unlocked: the thread ends with the goroutine, when the
		// monitor is closed and no stub is left.
		runtime.LockOSThread()
		// A stub has this thread's signal mask for the rest of its life. Ours
		// is that of whoever has started this process: with the tick's signal
		// blocked, no stub would ever report one.
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, new(unix.Sigset_t), nil); err != nil {
			panic(fmt.Sprintf("BUG: an empty signal mask: %v", err))
		}
		for r := range s.requests {
			p, err := r.image.Start(r.orders)
			r.reply <- spawnReply{p, err}
		}
	}()
	return s
}

// launch starts stubs by exec.
func (s *spawner) launch(image *stubexe.Image, orders stubexe.Orders) launch {
	return func(x *MM) error {
		reply := make(chan spawnReply, 1)
		s.requests <- spawnRequest{image, orders, reply}
		r := <-reply
		x.proc = r.p
		return r.err
	}
}

func (s *spawner) close() { close(s.requests) }

// reaper waits for stubs to die. It is the counterpart of UML's SIGCHLD
// handler: whoever waits for a report of the dead is woken at once.
type reaper struct {
	epfd int
	wake *os.File // written to end the loop
	done chan struct{}

	mu     sync.Mutex
	empty  sync.Cond     // signalled when a stub has been reaped and its pidfd closed
	live   map[int32]*MM // by pidfd
	doomed int           // of these, killed and not yet reaped
}

func newReaper() (*reaper, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("reaper's pipe: %w", err)
	}
	p := &reaper{epfd: epfd, wake: w, done: make(chan struct{}), live: make(map[int32]*MM)}
	p.empty.L = &p.mu
	fd := int(r.Fd())
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		unix.Close(epfd)
		r.Close()
		w.Close()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	go p.loop(r)
	return p, nil
}

func (p *reaper) watch(x *MM) error {
	fd := x.proc.PIDFD
	p.mu.Lock()
	p.live[int32(fd)] = x
	p.mu.Unlock()
	err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	if err != nil {
		p.mu.Lock()
		delete(p.live, int32(fd))
		p.mu.Unlock()
		return fmt.Errorf("watch stub %d: %w", x.proc.PID, err)
	}
	return nil
}

func (p *reaper) loop(quit *os.File) {
	defer close(p.done)
	defer quit.Close()
	events := make([]unix.EpollEvent, 32)
	for {
		n, err := unix.EpollWait(p.epfd, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("BUG: epoll_wait on the reaper's own descriptor: %v", err))
		}
		for _, e := range events[:n] {
			p.mu.Lock()
			x := p.live[e.Fd]
			p.mu.Unlock()
			if x == nil {
				return // the quit pipe
			}
			// Closing the pidfd would not take it off the set while a child
			// being forked still holds a copy.
			if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, int(e.Fd), nil); err != nil {
				panic(fmt.Sprintf("BUG: epoll_ctl on stub %d's pidfd: %v", x.proc.PID, err))
			}
			if err := x.reap(); err != nil {
				panic(fmt.Sprintf("BUG: waitid for stub %d: %v", x.proc.PID, err))
			}
			x.died()
			p.mu.Lock()
			delete(p.live, e.Fd)
			// Nobody uses the pidfd of a stub that has died; its number is free
			// from here, and so it must be before drain can return.
			unix.Close(int(e.Fd))
			if x.doomed {
				p.doomed--
			}
			p.empty.Broadcast()
			p.mu.Unlock()
		}
	}
}

// doom notes that x was killed on purpose and will be reaped soon, if it has
// not been: then its pidfd's number may be another's by now.
func (p *reaper) doom(x *MM) {
	p.mu.Lock()
	if p.live[int32(x.proc.PIDFD)] == x && !x.doomed {
		x.doomed = true
		p.doomed++
	}
	p.mu.Unlock()
}

func (p *reaper) drain() {
	p.mu.Lock()
	for p.doomed > 0 {
		p.empty.Wait()
	}
	p.mu.Unlock()
}

func (p *reaper) close() {
	p.wake.Close() // EOF is readable
	<-p.done
	unix.Close(p.epfd)
}
