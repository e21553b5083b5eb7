package vfs

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"goskas/guest/wait"
)

func newPipe() (r, w File) {
	var p Pipes
	return p.New()
}

// Bytes come out as they went in, whatever the sizes, and writes of up to
// PIPE_BUF are all or nothing.
func TestPipeAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 5))
	r, w := newPipe()
	var model []byte
	next := byte(0)
	for range 6000 {
		if rnd.IntN(2) == 0 {
			b := make([]byte, []int{1, 100, pipeBuf, pipeBuf + 1, pipeSize, pipeSize + 10}[rnd.IntN(6)])
			b = b[:1+rnd.IntN(len(b))]
			for i := range b {
				b[i] = next
				next += 7
			}
			room := pipeSize - len(model)
			n, err := w.Write(b)
			want, wantErr := min(len(b), room), error(nil)
			if room == 0 || len(b) <= pipeBuf && room < len(b) {
				want, wantErr = 0, unix.EAGAIN
			}
			if n != want || err != wantErr {
				t.Fatalf("write of %d with room for %d: %d, %v", len(b), room, n, err)
			}
			model = append(model, b[:n]...)
			next = 7 * byte(len(model)) // only to keep the pattern moving
		} else {
			b := make([]byte, rnd.IntN(3*pipeBuf))
			n, err := r.Read(b)
			if len(model) == 0 && len(b) > 0 {
				if err != unix.EAGAIN {
					t.Fatalf("read of an empty pipe: %d, %v", n, err)
				}
				continue
			}
			if want := min(len(b), len(model)); n != want || err != nil || !bytes.Equal(b[:n], model[:n]) {
				t.Fatalf("read of %d: %d, %v, want %d", len(b), n, err, want)
			}
			model = model[n:]
		}
		if in := r.Ready()&unix.POLLIN != 0; in != (len(model) > 0) {
			t.Fatalf("readable %v with %d bytes", in, len(model))
		}
		if out := w.Ready()&unix.POLLOUT != 0; out != (pipeSize-len(model) >= pipeBuf) {
			t.Fatalf("writable %v with %d bytes", out, len(model))
		}
		var arg [4]byte
		if err := r.Ioctl(fionRead, arg[:]); err != nil || int(arg[0])|int(arg[1])<<8|int(arg[2])<<16 != len(model) {
			t.Fatalf("FIONREAD: % x, %v with %d bytes", arg, err, len(model))
		}
	}
}

// hostPipe is the host's, for comparison.
type hostPipe struct{ r, w int }

// What a pipe does with an end closed is what the host's does. A write of
// nothing to a pipe without readers once failed with EPIPE.
func TestClosedPipesLikeTheHost(t *testing.T) {
	for _, closeReader := range []bool{true, false} {
		for _, before := range []int{0, 10} {
			r, w := newPipe()
			var fds [2]int
			if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			h := hostPipe{fds[0], fds[1]}
			b := make([]byte, 20)
			if before > 0 {
				w.Write(b[:before])
				unix.Write(h.w, b[:before])
			}
			if closeReader {
				r.Close()
				unix.Close(h.r)
				for _, n := range []int{0, 1} {
					got, err := w.Write(b[:n])
					want, wantErr := unix.Write(h.w, b[:n])
					if got != max(want, 0) || err != wantErr && (err != nil || wantErr != nil) {
						t.Errorf("write of %d: %d, %v; the host: %d, %v", n, got, err, want, wantErr)
					}
				}
				if poll := w.Ready(); poll&unix.POLLERR == 0 {
					t.Errorf("no POLLERR: %#x", poll)
				}
				w.Close()
				unix.Close(h.w)
				continue
			}
			w.Close()
			unix.Close(h.w)
			for range 3 {
				got, err := r.Read(b)
				want, wantErr := unix.Read(h.r, b)
				if got != want || err != nil || wantErr != nil {
					t.Errorf("read: %d, %v; the host: %d, %v", got, err, want, wantErr)
				}
			}
			if poll := r.Ready(); poll != unix.POLLHUP {
				t.Errorf("poll %#x", poll)
			}
			r.Close()
			unix.Close(h.r)
		}
	}
}

func TestPipeWakes(t *testing.T) {
	r, w := newPipe()
	woken := 0
	waiter := wait.Waiter{Wake: func() { woken++ }}
	r.Queue().Add(&waiter)
	for i, do := range []func(){
		func() { w.Write([]byte("x")) },
		func() { r.Read(make([]byte, 1)) },
		func() { w.Close() },
		func() { r.Close() },
	} {
		before := woken
		if do(); woken != before+1 {
			t.Errorf("step %d woke %d times", i, woken-before)
		}
	}
}
