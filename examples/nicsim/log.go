package main

import (
	"context"
	"log/slog"
	"strings"
)

// logHandler is a slog.Handler that prints one line per record. Handle runs on the device
// thread and does not block: lines are dropped while standard error is blocked.
type logHandler struct{ lines chan string }

func newLogHandler(print func(format string, args ...any)) logHandler {
	h := logHandler{make(chan string, 64)}
	go func() {
		for line := range h.lines {
			print("%s", line)
		}
	}()
	return h
}

func (h logHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h logHandler) WithGroup(string) slog.Handler            { return h }

func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			b.WriteString(": " + a.Value.String())
		} else {
			b.WriteString(", " + a.Key + " " + a.Value.String())
		}
		return true
	})
	select {
	case h.lines <- b.String():
	default:
	}
	return nil
}
