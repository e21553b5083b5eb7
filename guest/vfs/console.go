package vfs

import (
	"os"
	"sync"

	"goskas/guest/wait"

	"golang.org/x/sys/unix"
)

// Console passes reads and writes through to descriptors of the host. Nothing
// is read ahead: what the guest does not ask for stays for whoever reads the
// host's descriptor next. Whether a read or write would block is found out by
// poll(2), in a goroutine that runs only while somebody waits.
type Console struct {
	lock func(func()) // runs a function under the kernel lock
	// stop ends the goroutines: poll sees its reading end.
	stopR, stopW *os.File
	pollers      sync.WaitGroup
	consumed     uint64 // bytes that the guest has read; under the kernel lock
	control      Control
}

// Consumed is how many bytes the guest has read from its console. It must be
// called with the kernel lock held.
func (c *Console) Consumed() uint64 { return c.consumed }

// Control is the console as a controlling terminal, which it is if the host's
// descriptors are terminals.
func (c *Console) Control() *Control { return &c.control }

// NewConsole makes a console whose goroutines report under lock.
func NewConsole(lock func(func())) (*Console, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Console{lock: lock, stopR: r, stopW: w}, nil
}

// Close ends the goroutines. The host's descriptors stay open. It must not be
// called with the lock held.
func (c *Console) Close() {
	c.stopW.Close()
	c.pollers.Wait()
	c.stopR.Close()
}

// File is the guest's file for a host file; nil reads as empty and swallows
// what is written.
func (c *Console) File(f *os.File) File {
	t := &consoleFile{console: c, fd: -1}
	if f != nil {
		// Fd puts the file into blocking mode, which it is for fd 0 to 2.
		t.fd = int(f.Fd())
		_, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
		t.terminal = err == nil
	}
	return t
}

type consoleFile struct {
	NoFile
	console *Console
	fd      int
	// terminal says that the host's file is one.
	terminal bool
	queue    wait.Queue
	polling  int16 // events that a goroutine waits for
}

func (f *consoleFile) Stat() (Stat, error) {
	if f.fd < 0 {
		st := dynamicStat(1, unix.S_IFCHR|0o666)
		st.Rdev = unix.Mkdev(1, 3)
		return st, nil
	}
	return statFD(f.fd)
}

func (f *consoleFile) Queue() *wait.Queue { return &f.queue }

// poll asks the host what can be done without blocking, and has a goroutine
// wait for what cannot.
func (f *consoleFile) poll(want int16) int16 {
	if f.fd < 0 {
		return want
	}
	fds := []unix.PollFd{{Fd: int32(f.fd), Events: want}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return 0
	}
	if got := fds[0].Revents; got != 0 {
		return got
	}
	if f.polling&want != want {
		f.polling |= want
		c := f.console
		c.pollers.Go(func() { f.waitFor(want) })
	}
	return 0
}

func (f *consoleFile) waitFor(want int16) {
	c := f.console
	fds := []unix.PollFd{{Fd: int32(f.fd), Events: want}, {Fd: int32(c.stopR.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || fds[1].Revents != 0 {
			return
		}
		break
	}
	c.lock(func() {
		f.polling &^= want
		f.queue.Wake()
	})
}

func (f *consoleFile) Ready() int16 {
	got := f.poll(unix.POLLIN|unix.POLLOUT) & (unix.POLLIN | unix.POLLOUT | unix.POLLERR | unix.POLLHUP)
	if got&unix.POLLIN != 0 {
		got |= readable
	} else {
		f.poll(unix.POLLIN) // usually writable at once: have somebody wait for input
	}
	if got&unix.POLLOUT != 0 {
		got |= writable
	}
	return got
}

func (f *consoleFile) Read(p []byte) (int, error) {
	if f.fd < 0 || len(p) == 0 {
		return 0, nil
	}
	if f.poll(unix.POLLIN) == 0 {
		return 0, unix.EAGAIN
	}
	for {
		n, err := unix.Read(f.fd, p)
		if err != unix.EINTR {
			f.console.consumed += uint64(max(n, 0))
			return max(n, 0), err
		}
	}
}

func (f *consoleFile) Write(p []byte) (int, error) {
	if f.fd < 0 || len(p) == 0 {
		return len(p), nil
	}
	if f.poll(unix.POLLOUT) == 0 {
		return 0, unix.EAGAIN
	}
	// A pipe that can be written has room for this much.
	p = p[:min(len(p), pipeBuf)]
	for {
		n, err := unix.Write(f.fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func (f *consoleFile) Ioctl(cmd uint32, arg []byte) error {
	if f.fd < 0 {
		return unix.ENOTTY
	}
	return hostIoctl(f.fd, cmd, arg)
}
