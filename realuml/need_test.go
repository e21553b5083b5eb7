package realuml

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"goskas/internal/testkit"
)

// need gives the kernel to a test that is nothing without it, and skips the test
// where it cannot be had.
func need(t *testing.T) *Kernel {
	t.Helper()
	if testing.Short() {
		t.Skip("boots real User Mode Linux")
	}
	k, err := fetched()
	switch {
	case errors.Is(err, ErrUnavailable):
		testkit.Skip(t, err)
	case err != nil:
		t.Fatal(err)
	}
	return k
}

// known is the kernel that the comparisons were written for.
const known = "7.2"

// complain is how to tell of a difference between real UML and what is expected
// of it. Debian moves on: another version is no reason to fail.
func (k *Kernel) complain(t *testing.T) func(format string, args ...any) {
	if strings.HasPrefix(k.Version, known) {
		return t.Errorf
	}
	return func(format string, args ...any) {
		t.Logf("User Mode Linux "+k.Version+", not "+known+": "+format, args...)
	}
}

// fetched gets the kernel once; a network that is not there is waited for once.
var fetched = sync.OnceValues(func() (*Kernel, error) {
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return Fetch(ctx, dir, func(string, ...any) {})
})

// command is the path of a skas built from this tree.
func command(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildDir holds it; TestMain makes and removes it.
var buildDir string

var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "skas")
	out, err := exec.Command("go", "build", "-o", path, "goskas/cmd/skas").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "realuml")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		buildDir = dir
		return m.Run()
	}())
}

// deadline bounds one boot on a busy machine.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
