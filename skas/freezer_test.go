package skas

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"goskas/arch"
	"goskas/arch/amd64/asm"
	"goskas/guard"
	"goskas/internal/testkit"

	"golang.org/x/sys/unix"
)

// freezer is a way in which somebody on the host holds a process.
type freezer struct {
	name string
	// hold stops a process, and gives what lets it go on; ErrUnsupported says
	// that this host has no such thing.
	hold func(t *testing.T, pid int, code arch.Addr) (thaw func() error, err error)
}

func freezers() []freezer {
	return []freezer{
		{"SIGSTOP", func(t *testing.T, pid int, _ arch.Addr) (func() error, error) {
			return func() error { return unix.Kill(pid, unix.SIGCONT) }, unix.Kill(pid, unix.SIGSTOP)
		}},
		{"debugger", func(t *testing.T, pid int, code arch.Addr) (func() error, error) {
			tr := newTracer(t, pid, code, nil)
			err := tr.do(tr.freeze)
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("trace a stub: %w", errors.ErrUnsupported)
			}
			return func() error { return tr.do(func() error { return unix.PtraceDetach(pid) }) }, err
		}},
	}
}

// cgroupFreezers are those of the host that this process may use.
func cgroupFreezers(t *testing.T) (list []freezer) {
	mounts, err := os.ReadFile("/proc/self/mounts") // proc_pid_mounts(5): device, place, type, options
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		at := ""
		if len(f) > 3 {
			at = f[1]
		}
		switch {
		case at == "" || unix.Access(at, unix.W_OK) != nil:
		case f[2] == "cgroup2":
			list = append(list, freezer{"freezer of cgroup 2", cgroupFreezer(at, "cgroup.freeze", "1", "0")})
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "freezer"):
			list = append(list, freezer{"freezer of cgroup 1", cgroupFreezer(at, "freezer.state", "FROZEN", "THAWED")})
		}
	}
	if len(list) == 0 {
		t.Log("this host lets us use no cgroup freezer")
	}
	return list
}

// cgroupFreezer holds a process in a cgroup of its own.
func cgroupFreezer(root, file, frozen, thawed string) func(*testing.T, int, arch.Addr) (func() error, error) {
	return func(t *testing.T, pid int, _ arch.Addr) (func() error, error) {
		dir := filepath.Join(root, fmt.Sprintf("goskas-test-%d", pid))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		write := func(dir, file, text string) error {
			f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(text)
			return errors.Join(err, f.Close())
		}
		t.Cleanup(func() {
			_ = write(root, "cgroup.procs", fmt.Sprint(pid)) // unless it is dead
			if err := os.Remove(dir); err != nil {
				t.Errorf("cgroup left behind: %v", err)
			}
		})
		err := write(dir, "cgroup.procs", fmt.Sprint(pid))
		if err == nil {
			err = write(dir, file, frozen)
		}
		return func() error { return write(dir, file, thawed) }, err
	}
}

// A stub that somebody on the host holds while a proof is wanted of it is not
// taken for one that misbehaves: what it may still map stays held, other mms go
// on, and all is well when it goes on, too.
func TestKernelRevokeOfAFrozenStub(t *testing.T) {
	for _, f := range append(freezers(), cgroupFreezers(t)...) {
		t.Run(f.name, func(t *testing.T) {
			r := newRig(t, 100, under(t, guard.Sealed))
			program := func(a *asm.Assembler) {
				a.Mov(8, asm.RBX, asm.Imm(dataAt))
				a.Mov(8, asm.RAX, asm.Ptr(asm.RBX, 0))
				a.Label("loop")
				a.Syscall()
				a.Jmp("loop")
			}
			x, regs := r.program(program)
			r.page(x, dataAt, arch.Read)
			other, otherRegs := r.program(program)
			r.page(other, dataAt, arch.Read)
			call := func(x *MM, regs *arch.Regs) {
				t.Helper()
				for {
					if ev := r.run(x, regs); ev.Kind == Syscall {
						return
					} else if ev.Kind != Tick {
						t.Fatalf("%+v", ev)
					}
				}
			}
			call(x, regs)
			frame := x.Table().Lookup(dataAt).PFN()

			thaw, err := f.hold(t, x.PID(), r.mon.Layout().Code)
			if errors.Is(err, errors.ErrUnsupported) {
				testkit.Skip(t, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			x.Table().Unmap(dataAt, dataAt+arch.PageSize)
			revoked := make(chan error, 1)
			proofs := r.mon.stats.proofs.Load()
			go func() { revoked <- x.Revoke() }()
			for r.mon.stats.proofs.Load() == proofs { // until it has the turnstile
				time.Sleep(time.Millisecond)
			}
			for start := time.Now(); time.Since(start) < 700*time.Millisecond; {
				call(other, otherRegs)
				if err := other.Revoke(); err != nil {
					t.Fatalf("revoke of the other mm: %v", err)
				}
				if !r.operable(x) { // else the revocation has given up
					r.mon.Reclaim() // passes it by
				}
				if r.mem.Refs(frame) == 0 {
					t.Fatal("the frame of a frozen stub is free")
				}
			}
			if x.dead.Load() {
				t.Fatal("a frozen stub was killed")
			}
			select {
			case err := <-revoked:
				if !errors.Is(err, ErrNotRevoked) {
					t.Errorf("revoke of a frozen stub: %v", err)
				}
				if err := thaw(); err != nil {
					t.Fatal(err)
				}
			default: // it waits for the thaw
				if err := thaw(); err != nil {
					t.Fatal(err)
				}
				if err := <-revoked; err != nil && !errors.Is(err, ErrNotRevoked) {
					t.Errorf("revoke behind the thaw: %v", err)
				}
			}
			if err := x.Revoke(); err != nil {
				t.Errorf("revoke of a stub that goes on: %v", err)
			}
			if r.mem.Refs(frame) != 0 || x.Table().Held() != 0 {
				t.Errorf("the frame has %d references, %d held", r.mem.Refs(frame), x.Table().Held())
			}
			call(x, regs)
		})
	}
}

// operable says that nobody operates the stub now; the auditor does not.
func (r *rig) operable(x *MM) bool {
	r.mon.auditing.Lock()
	defer r.mon.auditing.Unlock()
	if !x.turnstile.TryLock() {
		return false
	}
	x.turnstile.Unlock()
	return true
}
