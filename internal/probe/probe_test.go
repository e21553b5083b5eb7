package probe

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseVersion(t *testing.T) {
	for release, want := range map[string]Version{
		"6.18.44-fc-v782":        {6, 18},
		"6.1.0-18-amd64":         {6, 1},
		"5.10":                   {5, 10},
		"7.2-rc3":                {7, 2},
		"4.19.0+":                {4, 19},
		"":                       {},
		"linux":                  {},
		"6":                      {},
		"v6.1":                   {},
		"6-1":                    {},
		"99999999999999999999.1": {},
	} {
		got, err := parseVersion(release)
		if got != want || (err == nil) != (want != Version{}) {
			t.Errorf("%q: %v, %v", release, got, err)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	for _, c := range []struct {
		v, w Version
		want bool
	}{
		{Version{5, 10}, Version{5, 9}, true},
		{Version{5, 9}, Version{5, 9}, true},
		{Version{5, 8}, Version{5, 9}, false},
		{Version{6, 0}, Version{5, 19}, true},
		{Version{4, 19}, Version{5, 0}, false},
	} {
		if got := c.v.AtLeast(c.w); got != c.want {
			t.Errorf("%v at least %v: %v", c.v, c.w, got)
		}
	}
}

// The three answers.
func TestAnswers(t *testing.T) {
	answer := func(err error) error {
		_, err = Feature{Name: "magic", Since: Version{9, 1}, test: func() (string, error) { return "note", err }}.Probe()
		return err
	}
	if err := answer(nil); err != nil {
		t.Errorf("yes: %v", err)
	}
	no := answer(errors.Join(nil, lackOn(fmt.Errorf("try: %w", unix.ENOSYS), unix.EINVAL, unix.ENOSYS)))
	if !errors.Is(no, ErrNotSupported) || !errors.Is(no, unix.ENOSYS) ||
		no.Error() != "magic is not supported (needs Linux 9.1): try: function not implemented" {
		t.Errorf("no: %v", no)
	}
	var unsupported *UnsupportedError
	if !errors.As(no, &unsupported) || unsupported.Feature.Since != (Version{9, 1}) {
		t.Errorf("no: %#v", no)
	}
	unknown := answer(lackOn(unix.EMFILE, unix.ENOSYS))
	if unknown == nil || errors.Is(unknown, ErrNotSupported) || !errors.Is(unknown, unix.EMFILE) ||
		!strings.HasPrefix(unknown.Error(), "cannot tell whether magic is supported") {
		t.Errorf("unknown: %v", unknown)
	}
}

// The first thread outlives what is done to it, and once had no_new_privs from then
// on. Goroutines get to it by chance.
func TestOnThreadSparesTheFirst(t *testing.T) {
	for range 2000 {
		err := onThread(func() error {
			if tid := unix.Gettid(); tid == unix.Getpid() {
				return fmt.Errorf("on the first thread, %d", tid)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
