package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// logHandler writes what the monitor and the guest have to say as lines like our
// other messages: "skas: what: why (name value, name value)". The attributes
// "reason" and "err" are the why.
type logHandler struct {
	level slog.Level
	attrs []slog.Attr

	mu  *sync.Mutex
	out io.Writer
}

func newLog(out io.Writer, level slog.Level) *slog.Logger {
	return slog.New(&logHandler{level: level, mu: new(sync.Mutex), out: out})
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var why, rest []string
	add := func(a slog.Attr) bool {
		if v := a.Value.Resolve().String(); a.Key == "reason" || a.Key == "err" {
			why = append(why, v)
		} else {
			rest = append(rest, a.Key+" "+v)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	line := "skas: " + strings.Join(append([]string{r.Message}, why...), ": ")
	if len(rest) > 0 {
		line += " (" + strings.Join(rest, ", ") + ")"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintln(h.out, strings.ReplaceAll(line, "\n", " "))
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &c
}

// WithGroup does nothing: nobody here groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
