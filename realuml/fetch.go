package realuml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnavailable says that real UML cannot be had here: this is no Debian
// system, or its package archive cannot be reached.
var ErrUnavailable = errors.New("real User Mode Linux is not available")

// minVersion is the first kernel whose seccomp mode is the one modelled here.
const minVersion = 7

// suites are tried in this order, by the names that stay when Debian releases.
var suites = []string{"stable", "testing", "unstable"}

// Kernel is an unpacked User Mode Linux.
type Kernel struct {
	Version string // of the Debian package
	dir     string // holds the executable, its loader and its libraries
}

// loader is what the kernel's executable names as its program interpreter once
// it is unpacked: a path relative to the directory that it is started in.
const loader = "ld-linux-x86-64.so.2"

// executable is the kernel's name in its directory.
const executable = "linux-uml"

// versionFile is written last: what lies beside it is complete.
const versionFile = "version"

// CacheDir is where Fetch keeps what it gets unless it is told otherwise.
func CacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for real UML: %w", err)
	}
	return filepath.Join(cache, "goskas", "real-uml"), nil
}

// Cached is the kernel that an earlier Fetch has left in dir. Without one the
// error is os.ErrNotExist.
func Cached(dir string) (*Kernel, error) {
	version, err := os.ReadFile(filepath.Join(dir, versionFile))
	if err != nil {
		return nil, fmt.Errorf("real UML has not been fetched: %w", err)
	}
	return &Kernel{Version: strings.TrimSpace(string(version)), dir: filepath.Join(dir, "kernel")}, nil
}

// Fetch returns the kernel in dir, and first gets it if it is not there; logf is
// told what that takes. It can be called from several processes at once.
func Fetch(ctx context.Context, dir string, logf func(format string, args ...any)) (*Kernel, error) {
	if k, err := Cached(dir); !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	// Somebody else may have been quicker.
	if k, err := Cached(dir); !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	// We have the lock: what is there is of a fetch that was interrupted.
	if old, err := filepath.Glob(filepath.Join(dir, "fetch-*")); err == nil {
		for _, o := range old {
			_ = os.RemoveAll(o) // it costs space, no more
		}
	}
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work)
	if err != nil {
		return nil, err
	}
	version, err := a.choose(ctx, logf)
	if err != nil {
		return nil, err
	}
	logf("getting user-mode-linux %s", version)
	packages, err := a.closure(ctx, "user-mode-linux")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(work, "root")
	for _, p := range packages {
		if _, err := a.command(ctx, "dpkg-deb", "-x", p, root); err != nil {
			return nil, err
		}
	}
	kernel := filepath.Join(work, "kernel")
	if err := install(root, kernel); err != nil {
		return nil, err
	}
	target := filepath.Join(dir, "kernel")
	if err := os.RemoveAll(target); err != nil { // of a fetch that was interrupted
		return nil, err
	}
	if err := os.Rename(kernel, target); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, versionFile), []byte(version+"\n"), 0o644); err != nil {
		return nil, err
	}
	return Cached(dir)
}

// major is the kernel version's first number in a package version.
func major(version string) int {
	number, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return n
}
