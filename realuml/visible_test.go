package realuml

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"goskas/guard"
	"goskas/internal/probe"
	"goskas/program"
)

// peer is one of those that run the same program.
type peer string

// The peers. What Linux itself does is the measure of the others. Ours stands
// for a peer under each guard, whose name is behind it, and for one in mode ptrace.
const (
	linux      peer = "linux"
	umlSeccomp peer = "uml seccomp"
	umlPtrace  peer = "uml ptrace"
	ours       peer = "ours"
)

// kind is ours for each of ours.
func (p peer) kind() peer {
	if strings.HasPrefix(string(p), string(ours)) {
		return ours
	}
	return p
}

// others lists all but Linux, under the guards that work on this host.
func others() []peer {
	list := []peer{umlSeccomp, umlPtrace}
	for _, g := range guard.All() {
		if !slices.ContainsFunc(g.Needs, func(f probe.Feature) bool {
			_, err := f.Probe()
			return err != nil
		}) {
			list = append(list, ours+" "+peer(g.String()))
		}
	}
	if _, err := probe.PtraceSysemu.Probe(); err == nil {
		list = append(list, ours+" "+inPtrace)
	}
	return list
}

// inPtrace stands where others of ours have a guard's name.
const inPtrace = "ptrace"

// flags are skas's for one of ours; nil for others.
func (p peer) flags() []string {
	switch name, ok := strings.CutPrefix(string(p), string(ours)+" "); {
	case !ok:
		return nil
	case name == inPtrace:
		return []string{"--mode", name}
	default:
		return []string{"--guard", name}
	}
}

// TestGuestVisibleMatches compares what programs see of their kernel: on Linux,
// in real UML in both modes, and in ours.
func TestGuestVisibleMatches(t *testing.T) {
	t.Parallel()
	k := need(t)
	skas := command(t)
	var names []string
	var images [][]byte
	for _, v := range visiblePrograms {
		p := program.New()
		v.build(p)
		p.Exit(0)
		image, err := p.Build()
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		names, images = append(names, v.name), append(images, image)
	}
	results := runEverywhere(t, k, skas, images)
	for i, name := range names {
		t.Run(name, func(t *testing.T) { compareVisible(t, k, name, results[i]) })
	}
}

// runEverywhere gives for each program the results of all peers. Real UML runs
// all of them in one boot.
func runEverywhere(t *testing.T, k *Kernel, skas string, images [][]byte) []map[peer]*Result {
	t.Helper()
	ctx := deadline(t)
	results := make([]map[peer]*Result, len(images))
	for i, image := range images {
		c := Config{Program: image}
		native, err := Native(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = map[peer]*Result{linux: native}
		for _, who := range others() {
			if flags := who.flags(); flags != nil {
				if results[i][who], err = Skas(ctx, skas, c, flags...); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for who, ptrace := range map[peer]bool{umlSeccomp: false, umlPtrace: true} {
		list, err := k.BootAll(ctx, Config{Ptrace: ptrace}, images)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range list {
			results[i][who] = r
		}
	}
	return results
}

// compareVisible complains of the lines in which somebody differs from Linux,
// unless that is known. What is known and no longer so is only said: mending
// something is no fault.
func compareVisible(t *testing.T, k *Kernel, name string, results map[peer]*Result) {
	t.Helper()
	others := others()
	want, order := lines(results[linux])
	got := make(map[peer]map[string]string)
	for _, who := range others {
		var more []string
		got[who], more = lines(results[who])
		for _, line := range more {
			if _, ok := want[line]; !ok && !slices.Contains(order, line) {
				order = append(order, line)
			}
		}
	}
	type use struct {
		exception int
		who       peer
	}
	used := make(map[use]bool)
	for _, line := range order {
		for _, who := range others {
			if want[line] == got[who][line] {
				continue
			}
			i := slices.IndexFunc(visibleExceptions, func(u unlikeLinux) bool {
				return u.program == name && u.line.MatchString(line) && slices.Contains(u.who, who.kind())
			})
			if i < 0 {
				complain := t.Errorf
				if who.kind() != ours {
					complain = k.complain(t)
				}
				complain("%s: %s: %q, on Linux %q", who, line, got[who][line], want[line])
			}
			used[use{i, who.kind()}] = true
		}
	}
	for i, u := range visibleExceptions {
		for _, who := range u.who {
			if u.program == name && !used[use{i, who}] {
				t.Logf("%s is like Linux now; take it off the list: %s", who, u.why)
			}
		}
	}
}

// section is the value of a line that begins a section: the names of the lines
// after it have its name before theirs.
const section = "..."

// lines makes a map of output that is lines of "name: value", and a list of the
// names. The exit status is one of them.
func lines(r *Result) (map[string]string, []string) {
	m := make(map[string]string)
	var order []string
	add := func(name, value string) {
		unique := name
		for n := 2; m[unique] != ""; n++ {
			unique = fmt.Sprintf("%s (%d)", name, n)
		}
		m[unique] = value
		order = append(order, unique)
	}
	before := ""
	for line := range strings.Lines(string(r.Output)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if value == section {
			before = name + ", "
			continue
		}
		add(before+name, value)
	}
	add("exit status", fmt.Sprint(r.Status))
	return m, order
}
