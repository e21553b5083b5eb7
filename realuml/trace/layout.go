package trace

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const page = 4096

// stackZone is below every stack: where the upper end of a 47-bit address space
// is, give or take.
const stackZone = 0x7f00_0000_0000

// layout tells addresses relative to what they lie in.
type layout struct {
	code, data, end uint64
	started         bool // the stub's program is gone, guest addresses follow
	stack           uint64
	regions         []region // of all stubs so far
}

// region is what one mmap call of the guest has returned.
type region struct{ start, end uint64 }

// reset begins a stub: its pages are its first two mappings.
func (l *layout) reset(events []Event) error {
	l.started, l.stack = false, 0
	var maps []Event
	for _, e := range events {
		if e.Kind == Call && e.Name == "mmap" && len(e.Args) == 6 {
			maps = append(maps, e)
		}
	}
	if len(maps) < 2 {
		return fmt.Errorf("the stub does not map its pages")
	}
	var err error
	if l.code, err = number(maps[0].Args[0]); err != nil {
		return err
	}
	if l.data, err = number(maps[1].Args[0]); err != nil {
		return err
	}
	size, err := number(maps[1].Args[1])
	l.end = l.data + size
	return err
}

func (l *layout) addRegion(start, end uint64) { l.regions = append(l.regions, region{start, end}) }

// name is an address relative to what it lies in.
func (l *layout) name(a uint64) (string, bool) {
	switch {
	case a >= l.data && a < l.end:
		return "DATA" + plus(a-l.data), true
	case a >= l.code && a < l.data:
		// The two handlers are not laid out alike, and need not be.
		return "CODE", true
	case !l.started && a >= page && a < stackZone:
		return "PROGRAM", true
	}
	// The latest call has the say: what it returned was free before.
	for i := len(l.regions) - 1; i >= 0; i-- {
		if r := l.regions[i]; a >= r.start && a < r.end {
			return fmt.Sprintf("map %d%s", i+1, plus(a-r.start)), true
		}
	}
	if l.started && a >= stackZone && a < l.code {
		if l.stack == 0 {
			l.stack = a &^ (page - 1)
		}
		return fmt.Sprintf("stack%+d", (int64(a&^(page-1))-int64(l.stack))/page), true
	}
	return "", false
}

func plus(offset uint64) string {
	if offset == 0 {
		return ""
	}
	return fmt.Sprintf("+%#x", offset)
}

// mustName is name, or the plain address.
func (l *layout) mustName(a uint64) string {
	if name, ok := l.name(a); ok {
		return name
	}
	return fmt.Sprintf("%#x", a)
}

var address = regexp.MustCompile(`\b0x[0-9a-f]{4,16}\b`)

// rename replaces the addresses in a text.
func (l *layout) rename(text string) string {
	return address.ReplaceAllStringFunc(text, func(s string) string {
		a, err := strconv.ParseUint(s[2:], 16, 64)
		if err != nil {
			return s
		}
		if name, ok := l.name(a); ok {
			return name
		}
		return s
	})
}

// number reads what strace prints for an address or a size.
func number(s string) (uint64, error) {
	if s == "NULL" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return n, nil
}
