package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// Warnings were once lines of time=, level= and msg=.
func TestLogLinesAreMessages(t *testing.T) {
	for _, c := range []struct {
		log  func(l *slog.Logger)
		want string
	}{
		{func(l *slog.Logger) {
			l.Warn("guest process killed", "reason", errors.New("out of guest memory"), "pid", 3, "comm", "sh")
		},
			"skas: guest process killed: out of guest memory (pid 3, comm sh)\n"},
		{func(l *slog.Logger) { l.Warn("plain") }, "skas: plain\n"},
		{func(l *slog.Logger) { l.With("pid", 4).Error("two\nlines") }, "skas: two lines (pid 4)\n"},
		{func(l *slog.Logger) { l.Debug("too much") }, ""},
	} {
		var b strings.Builder
		c.log(newLog(&b, slog.LevelWarn))
		if b.String() != c.want {
			t.Errorf("%q, want %q", b.String(), c.want)
		}
	}
}
