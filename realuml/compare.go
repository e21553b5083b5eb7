package realuml

import (
	"context"
	"fmt"

	"goskas/realuml/trace"
)

// Compare runs a program as process 1 of real UML (left) and of a guest of the
// skas command given under guard none (right), and aligns what their stubs did on the host: one
// list of pairs for each stub. A stub that only one side has is compared with
// nothing.
func (k *Kernel) Compare(ctx context.Context, skas string, program []byte) ([][]trace.Pair, error) {
	c := Config{Program: program, Init: true, Trace: true}
	theirs, err := k.Boot(ctx, c)
	if err != nil {
		return nil, err
	}
	ours, err := Skas(ctx, skas, c, "--guard", "none")
	if err != nil {
		return nil, err
	}
	left, err := normalize(theirs.Stubs)
	if err != nil {
		return nil, fmt.Errorf("real UML: %w", err)
	}
	right, err := normalize(ours.Stubs)
	if err != nil {
		return nil, fmt.Errorf("skas run: %w; its output:\n%s", err, ours.Output)
	}
	granted := trace.Granted()
	var stubs [][]trace.Pair
	for i := range max(len(left), len(right)) {
		var l, r []trace.Line
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		stubs = append(stubs, trace.Align(l, r, granted))
	}
	return stubs, nil
}

func normalize(stubs []StubTrace) ([][]trace.Line, error) {
	if len(stubs) == 0 {
		return nil, fmt.Errorf("no stub was started")
	}
	var all [][]trace.Event
	for i, text := range stubs {
		events, err := trace.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("stub %d: %w", i+1, err)
		}
		all = append(all, events)
	}
	return trace.Normalize(all)
}
