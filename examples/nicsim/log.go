package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

// logHandler is a slog.Handler that prints one line per record. Handle runs on the device
// thread and does not block.
type logHandler struct {
	*cli.Printer
	print func(format string, args ...any)
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
	h.print("%s", b.String())
	return nil
}
