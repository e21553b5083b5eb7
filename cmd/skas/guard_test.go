package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"goskas/arch/amd64"
	"goskas/guard"
	"goskas/guest"
	"goskas/internal/probe"
	"goskas/skas"

	"golang.org/x/sys/unix"
)

// without is a host that has everything but some features.
func without(missing ...probe.Feature) prober {
	return func(f probe.Feature) error {
		if slices.ContainsFunc(missing, func(m probe.Feature) bool { return m.Name == f.Name }) {
			return &probe.UnsupportedError{Feature: f, Cause: unix.EINVAL}
		}
		return nil
	}
}

func unsure(probe.Feature) error { return errors.New("it may rain") }

func TestChooseGuard(t *testing.T) {
	const syncWake = "seccomp notification on one CPU (SYNC_WAKE_UP) is not supported (needs Linux 6.6)"
	for _, c := range []struct {
		name, flag string
		noSync     bool
		has        prober
		want       string
		wantNoSync bool
		notes      []string // parts of each
	}{
		{"named", "validate", false, without(), "validate", false, nil},
		{"by choice without the wake-up", "notify", true, without(probe.UserNotifSyncWakeUp), "notify", true, nil},
		{"no wake-up", "notify", false, without(probe.UserNotifSyncWakeUp), "notify", true, []string{"guard notify is slower than it could be: " + syncWake}},
		{"none needs nothing", "none", false, unsure, "none", false, nil},
		{"auto, all there", "auto", false, without(), guard.Names()[len(guard.Names())-1], false, []string{"is the strongest that works here"}},
		{"auto, no listener", "auto", false, without(probe.XSave, probe.PidfdGetfd), "none", false,
			[]string{"guard none is the strongest that works here; sealed does not: XSAVE"}},
		{"auto, no wake-up", "auto", false, without(probe.XSave, probe.UserNotifSyncWakeUp), "validate", true, []string{"guard validate is the strongest", syncWake}},
		{"auto, who knows", "auto", false, unsure, "none", false, []string{"validate does not: it may rain; notify does not: it may rain"}},
	} {
		got, err := chooseGuard(c.flag, c.noSync, c.has)
		if err != nil || got.guard.String() != c.want || got.noSync != c.wantNoSync || len(got.notes) != len(c.notes) {
			t.Errorf("%s: %v, without the wake-up %v, notes %q, %v", c.name, got.guard, got.noSync, got.notes, err)
			continue
		}
		for i, note := range got.notes {
			if !strings.Contains(note, c.notes[i]) || strings.Contains(note, "\n") {
				t.Errorf("%s: note %q lacks %q", c.name, note, c.notes[i])
			}
		}
	}
}

// A guard that does not work here is no reason to take another.
func TestChooseGuardRefuses(t *testing.T) {
	for _, c := range []struct {
		flag   string
		has    prober
		status int
		want   string
	}{
		{"strict", without(), exitUsage, `--guard: no guard "strict": give auto, none, notify, validate`},
		{"validate", without(probe.SeccompTSyncListener), exitSelf,
			"guard validate does not work here: seccomp TSYNC_ESRCH with a listener is not supported (needs Linux 5.7): invalid argument (use a newer kernel)"},
		{"notify", unsure, exitSelf, "guard notify does not work here: it may rain"},
	} {
		_, err := chooseGuard(c.flag, false, c.has)
		var exit *exitError
		if !errors.As(err, &exit) || exit.status != c.status || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("--guard %s: %v, want status %d, %q", c.flag, err, c.status, c.want)
		}
	}
}

// What is measured under a name is what the name says, or an error.
func TestBenchGuardAsNamed(t *testing.T) {
	noWake := without(probe.UserNotifSyncWakeUp)
	for _, c := range []struct {
		name string
		has  prober
		want string
	}{
		{"validate", without(), ""},
		{"validate", noWake, "guard validate is slower than it could be: seccomp notification on one CPU"},
		{"validate-nosync", noWake, ""},
		{"notify", without(probe.PidfdGetfd), "guard notify does not work here: pidfd_getfd is not supported"},
		{"none", unsure, ""},
	} {
		list, err := (&benchmark{guards: []string{c.name}}).configs()
		if err != nil {
			t.Fatal(err)
		}
		var machine guest.Config
		list[0].Set(&machine)
		err = asNamed(machine, c.has)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Every guard can be run and shown; the chosen one is named.
func TestGuestGuards(t *testing.T) {
	host, err := chooseGuard(autoGuard, false, onThisHost)
	if err != nil {
		t.Fatal(err)
	}
	status, out, errs := command(t, "boot", "--guard", "auto", "--json")
	if status != 0 || !strings.Contains(errs, host.notes[0]) || !strings.Contains(out, `"guard": "`+host.guard.String()+`"`) {
		t.Errorf("boot --guard auto: status %d, %q\n%s", status, errs, out)
	}
	for _, g := range guard.All() {
		status, code, errs := command(t, "stub", "disasm", "--guard", g.String())
		if status != 0 || errs != "" {
			t.Errorf("stub disasm --guard %v: status %d, %q", g, status, errs)
		}
		contains(t, "disasm", code, "handler:", "syscall")
		status, filter, errs := command(t, "stub", "filter", "--guard", g.String())
		if status != 0 || errs != "" || strings.Contains(filter, "USER_NOTIF") != (len(g.Routed) > 0) {
			t.Errorf("stub filter --guard %v: status %d, %q\n%s", g, status, errs, filter)
		}
	}
	if status, _, errs := command(t, "stub", "filter", "--guard", "strict"); status != exitUsage || !strings.Contains(errs, `no guard "strict"`) {
		t.Errorf("stub filter --guard strict: status %d, %q", status, errs)
	}
}

// Mode ptrace runs what the other does, and takes nothing that it has no use for.
func TestGuestModes(t *testing.T) {
	for _, mode := range skas.Modes() {
		status, out, errs := command(t, "boot", "--mode", mode, "--stats", "--json", "--cpus", "2")
		if status != 0 || !strings.Contains(out+errs, `"mode": "`+mode+`"`) {
			t.Errorf("boot --mode %s: status %d, %q\n%s", mode, status, errs, out)
		}
	}
	t.Setenv("SKAS_GUARD", "validate") // no more than a default
	if status, _, errs := command(t, "run", "--mode", "ptrace", "--guard", "none", "--", "/bin/true"); status != 0 || errs != "" {
		t.Errorf("guard none: status %d, %q", status, errs)
	}
	if status, _, errs := command(t, "run", "--mode", "ptrace", "--", "/bin/false"); status != 1 || errs != "" {
		t.Errorf("no guard: status %d, %q", status, errs)
	}
	for _, bad := range [][]string{
		{"--mode", "ptrace", "--guard", "sealed"}, {"--mode", "ptrace", "--guard", "auto"},
		{"--mode", "ptrace", "--stall", "cpu"}, {"--mode", "ptrace", "--no-sync-wake"}, {"--mode", "trace"},
	} {
		args := append(append([]string{"run"}, bad...), "--", "/bin/true")
		if status, _, errs := command(t, args...); status != exitUsage || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

// The stub that this host would run is proved, as is its other form.
func TestStubVerify(t *testing.T) {
	status, out, errs := command(t, "stub", "verify")
	if status != 0 || errs != "" || strings.Contains(out, "BAD") {
		t.Errorf("status %d, %q\n%s", status, errs, out)
	}
	contains(t, "verify", out, "by system call:", "FSGSBASE", "site mmap:", "decode to a system call")

	var b strings.Builder
	n, err := printProof(&b, "form", amd64.Proof{Checked: []string{"rule"}, Findings: []amd64.Finding{{Offset: 16, Text: "push"}}})
	if want := "form:\n  ok  rule\n  BAD offset 0x10: push\n"; n != 1 || err != nil || b.String() != want {
		t.Errorf("%d findings, %v, %q", n, err, b.String())
	}
}
