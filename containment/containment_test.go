package containment

import (
	"strings"
	"testing"

	"goskas/guard"
	"goskas/internal/testkit"
)

// Every case comes out as it says, under every guard.
func TestKernelCases(t *testing.T) {
	testkit.NoLeaks(t)
	for _, c := range Cases() {
		for _, name := range Guards() {
			g, err := guard.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(c.Name+"/"+g.String(), func(t *testing.T) {
				r := c.Run(g, Options{Trace: testLog{t}})
				if !r.OK() {
					t.Error(r.Failure())
				}
				t.Logf("%s: %s", r.Verdict, r.Why)
			})
		}
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// The README shows what is expected.
func TestReadme(t *testing.T) {
	testkit.GoldenSection(t, "../README.md", "containment", Markdown(Guards()))
}

// Names are how people call cases; every case says what to expect.
func TestCasesAreComplete(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range Cases() {
		if seen[c.Name] || c.Name == "" || c.About == "" || !strings.HasPrefix(c.Promise, "P") {
			t.Errorf("case %q is not unique, or does not say what it is about", c.Name)
		}
		seen[c.Name] = true
		for _, g := range guard.All() {
			if c.Want.Under(g) == "" {
				t.Errorf("case %s does not say what to expect under %v", c.Name, g)
			}
		}
		if c.Want.Validate == Breached && c.Note == "" {
			t.Errorf("case %s does not say why validate does not contain it", c.Name)
		}
	}
}
