package guest_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"goskas/guest"
	"goskas/internal/testkit"
)

var wholeSuite = flag.Bool("busybox", false, "run all of BusyBox's own tests, those that take minutes, too")

// slowApplets have tests that compute for minutes, start thousands of processes, or
// only turn input into output in a hundred ways: there is little of a guest in them.
// The whole suite has them, too.
var slowApplets = strings.Fields(`bc md5sum sha1sum sha256sum sha3sum sha512sum
	awk cut dc expand expr factor fold grep paste rx sed seq tr unexpand uniq uuencode wc xxd`)

// shortApplets are those of short mode: names of files and their content.
var shortApplets = strings.Fields("cp mv ln rm mkdir rmdir touch")

// suiteScript runs the tests of the applets that are its arguments, under BusyBox's
// own shell. Without a configuration of BusyBox, all that the tests ask for counts
// as built in: what is not fails on the host as well. Only the applets themselves get links, not all 400.
const suiteScript = `cp -r "$SUITE/." "$W" && cd "$W/testsuite" && cp /bin/busybox .. || exit 99
	sed -i '1s,^#! */bin/sh,#!/bin/busybox sh,' *.tests
	grep -h optional *.tests | tr ' "' '\n\n' | grep '^[A-Z0-9_]*$' | sort -u | sed 's/.*/CONFIG_&=y/' >../.config
	sed -i 's/^for i in $implemented; do/for i in $applets busybox; do/' runtest
	exec /bin/busybox sh ./runtest "$@"`

// suiteApplets are the applets that the suite in dir has tests for, and that this
// run is to have.
func suiteApplets(t *testing.T, dir string) []string {
	t.Helper()
	if testing.Short() {
		return shortApplets
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var applets []string
	for _, e := range entries {
		name, isTests := strings.CutSuffix(e.Name(), ".tests")
		switch {
		case !isTests && !e.IsDir(),
			slices.Contains(applets, name),  // in two ways
			strings.HasPrefix(name, "all_"), // of the sources
			name == "wget",                  // of the internet
			!*wholeSuite && slices.Contains(slowApplets, name):
			continue
		}
		applets = append(applets, name)
	}
	return applets
}

// outcomes are the results of a run by test, in order: PASS, FAIL and the like.
func outcomes(out string) map[string][]string {
	all := make(map[string][]string)
	for _, line := range strings.Split(out, "\n") {
		what, name, ok := strings.Cut(line, ": ")
		if ok && slices.Contains([]string{"PASS", "FAIL", "SKIPPED", "UNTESTED"}, what) {
			all[name] = append(all[name], what)
		}
	}
	return all
}

func TestOutcomes(t *testing.T) {
	got := outcomes("PASS: a\nnoise\nFAIL: b: c\nPASS: a\nXPASS: d\n")
	if len(got) != 2 || len(got["a"]) != 2 || got["b: c"][0] != "FAIL" {
		t.Error(got)
	}
}

// getSuite gets the suite into dir; the test is skipped where it cannot be had.
func getSuite(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "../scripts/get-busybox-tests", dir).CombinedOutput()
	const unavailable = 69 // EX_UNAVAILABLE of sysexits.h
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == unavailable:
		testkit.Skip(t, errors.New(string(bytes.TrimSpace(out))))
	case err != nil:
		t.Fatalf("get-busybox-tests: %v\n%s", err, out)
	}
}

// suiteOnHost runs the tests on the host.
func suiteOnHost(ctx context.Context, argv, env []string) (result, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh")
	cmd.Args, cmd.Env = argv, env
	// All of it ends with the context; some tests mount.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	return result{cmd.ProcessState.ExitCode(), string(out)}, nil
}

// BusyBox's own tests, of the version that is installed: what passes on the host
// passes in the guest.
func TestGuestPassesBusyboxTests(t *testing.T) {
	testkit.NoLeaks(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(cache, "goskas", "busybox-tests")
	getSuite(t, suite)
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	env := func(w, suite string) []string {
		return []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + w, "LANG=C.UTF-8", "TZ=UTC", "W=" + w, "SUITE=" + suite}
	}
	// The whole suite takes minutes, and hosts are busy.
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	argv := append([]string{"sh", "-c", suiteScript, "sh"}, suiteApplets(t, filepath.Join(suite, "testsuite"))...)

	host := make(chan result, 1)
	w := t.TempDir()
	go func() {
		r, err := suiteOnHost(ctx, argv, env(w, suite))
		if err != nil {
			t.Error(err)
		}
		host <- r
	}()
	const shown = "/run/suite"
	m := start(t, guest.Config{CPUs: 2, Memory: 512 << 20, Hostname: hostname, Binds: []guest.Bind{{Host: suite, Guest: shown}}})
	m.fill("")
	if _, err := m.Run(ctx, "/bin/sh", argv, env("/tmp", shown)); err != nil {
		t.Errorf("run: %v", err)
	}
	out := m.out()
	onHost := <-host
	want, got := outcomes(onHost.Out), outcomes(out)

	passed := 0
	for name, results := range want {
		for i, r := range results {
			if r != "PASS" {
				continue
			}
			passed++
			if i < len(got[name]) && got[name][i] == "PASS" {
				continue
			}
			t.Errorf("%q passes on the host; in the guest: %v", name, got[name])
		}
	}
	t.Logf("%d tests pass on the host", passed)
	// Where next to nothing passes, next to nothing was compared.
	least := 300
	if testing.Short() {
		least = 30
	}
	if passed < least {
		t.Errorf("only %d tests pass on the host:\n%s", passed, onHost.Out)
	}
	if t.Failed() {
		t.Logf("the guest says:\n%s", out)
	}
}
