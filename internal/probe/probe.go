package probe

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Feature is something that a host may lack.
type Feature struct {
	Name string
	// Since is the first kernel that has it; zero if that is not what
	// decides.
	Since Version
	// Varies says that the CPU, the kernel's configuration or the host's
	// policy decide too: a new kernel without the feature is no surprise.
	Varies bool
	// Advice is what to do where it is missing.
	Advice string

	test func() (note string, err error)
}

// ErrNotSupported is what a probe's error is if the host lacks the feature.
var ErrNotSupported = errors.New("not supported")

// UnsupportedError says that the host lacks a feature; it is ErrNotSupported.
type UnsupportedError struct {
	Feature Feature
	Cause   error // what the test ran into
}

func (e *UnsupportedError) Error() string {
	s := e.Feature.Name + " is not supported"
	if e.Feature.Since != (Version{}) {
		s += fmt.Sprintf(" (needs Linux %v)", e.Feature.Since)
	}
	return fmt.Sprintf("%s: %v", s, e.Cause)
}

// Is makes errors.Is find ErrNotSupported.
func (e *UnsupportedError) Is(target error) bool { return target == ErrNotSupported }

func (e *UnsupportedError) Unwrap() error { return e.Cause }

// lacking marks a test's error as the answer no; any other error means that
// the test could not tell.
type lacking struct{ error }

func lack(err error) error { return lacking{err} }

// lackOn is the answer no if err is one of those by which the kernel says that
// it does not know the request.
func lackOn(err error, no ...unix.Errno) error {
	for _, e := range no {
		if errors.Is(err, e) {
			return lack(err)
		}
	}
	return err
}

// Probe tests for the feature now. The note is a detail worth printing.
func (f Feature) Probe() (note string, err error) {
	note, err = f.test()
	var no lacking
	switch {
	case err == nil:
		return note, nil
	case errors.As(err, &no):
		return "", &UnsupportedError{f, no.error}
	}
	return "", fmt.Errorf("cannot tell whether %s is supported: %w", f.Name, err)
}

// Version is a kernel version.
type Version struct{ Major, Minor int }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// AtLeast compares two versions.
func (v Version) AtLeast(w Version) bool {
	return v.Major > w.Major || v.Major == w.Major && v.Minor >= w.Minor
}

// Kernel is the version of the running kernel.
func Kernel() (Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Version{}, fmt.Errorf("uname: %w", err)
	}
	return parseVersion(unix.ByteSliceToString(u.Release[:]))
}

// parseVersion reads the first two numbers of a release such as 6.1.0-18-amd64.
func parseVersion(release string) (Version, error) {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 || !strings.HasPrefix(release, parts[0]+"."+parts[1]) {
		return Version{}, fmt.Errorf("kernel release %q does not begin with two numbers", release)
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err := errors.Join(err1, err2); err != nil {
		return Version{}, fmt.Errorf("kernel release %q: %w", release, err)
	}
	return Version{major, minor}, nil
}

// onThread runs a test on a thread that ends with it, for what a thread cannot
// undo. The thread has no_new_privs, so that it may install filters.
func onThread(test func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread never ends: Go keeps it, with all that was done to
			// it. While it is held here another one does the test.
			result <- onThread(test)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the thread ends with this.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			result <- fmt.Errorf("no_new_privs: %w", err)
			return
		}
		result <- test()
	}()
	return <-result
}
