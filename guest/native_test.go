package guest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"goskas/guest"
	"goskas/internal/testguest"
	"goskas/internal/testkit"
)

// Programs of testdata/native print what calls did; they have to say the same
// in the guest as on the host. Each is one static C file.

// compile builds a program of testdata/native.
func compile(t *testing.T, name string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	src := filepath.Join("testdata", "native", name+".c")
	// Unused results are the rule in programs that show what errors there are.
	cc := exec.Command("gcc", "-O1", "-static", "-pthread", "-Wall", "-Wno-unused-result", "-Wno-nonnull", "-o", out, src, "-lutil")
	if msg, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s(scripts/install-test-packages installs gcc)", cc, err, msg)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// asOnHost runs a program of testdata/native on the host and in the guest.
func asOnHost(t *testing.T, cfg guest.Config, name string, arg ...string) {
	t.Helper()
	files := map[string][]byte{name: compile(t, name)}
	argv := append([]string{name}, arg...)
	env := []string{"PATH=/bin:/usr/bin"}
	want := testguest.OnHost(t, files, argv, env)
	cfg.Files = files
	got, _ := testguest.InGuest(t, cfg, argv, env)
	if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
		t.Errorf("host (-) and guest (+) differ:\n%s", diff)
	}
}

// lines makes differences readable.
func lines(r testguest.Result) any {
	return struct {
		Status int
		Out    []string
	}{r.Status, strings.Split(r.Out, "\n")}
}

func TestGuestAsOnHost(t *testing.T) {
	for _, name := range []string{"epoll", "eventfd", "timerfd", "socket", "scm", "pty", "proc", "limits"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // many sleep
			asOnHost(t, guest.Config{CPUs: 2}, name)
		})
	}
}

// Only root may make devices and change its root directory, on the host.
func TestGuestRootsAndDevicesAsOnHost(t *testing.T) {
	if os.Geteuid() != 0 {
		testkit.Skip(t, errors.New("chroot and mknod take root"))
	}
	asOnHost(t, guest.Config{}, "roots")
}
