package realuml

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stubExec is in the trace of a process that executed the stub's program,
// whichever way it did so; both name it so.
var stubExec = []byte(`["uml-userspace"]`)

// readTraces reads the files of strace -ff -o prefix and keeps those of stubs.
func readTraces(prefix string) ([]StubTrace, error) {
	files, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return nil, err
	}
	type stub struct {
		pid  int
		text []byte
	}
	var found []stub
	for _, f := range files {
		pid, err := strconv.Atoi(strings.TrimPrefix(f, prefix+"."))
		if err != nil {
			return nil, fmt.Errorf("trace file %s is not named for a process", f)
		}
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(text, stubExec) {
			found = append(found, stub{pid, text})
		}
	}
	// Process ids go up, but for the rare time when they start over.
	slices.SortFunc(found, func(a, b stub) int { return cmp.Compare(a.pid, b.pid) })
	var traces []StubTrace
	for _, s := range found {
		traces = append(traces, s.text)
	}
	return traces, nil
}
