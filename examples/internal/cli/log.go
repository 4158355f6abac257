package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// Logger returns a logger that writes one line for each message to w:
//
//	program: warning: PORT: queue N: message key=value
//
// The attributes port and queue, if there are any, stand before the message.
// Informational messages have no level. Debug messages are written if verbose is set.
func Logger(w io.Writer, program string, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(&lineHandler{w: w, mu: new(sync.Mutex), program: program, level: level})
}

type lineHandler struct {
	w       io.Writer
	mu      *sync.Mutex // serializes lines
	program string
	level   slog.Level
	attrs   []slog.Attr
}

func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	var before, after strings.Builder
	switch {
	case r.Level >= slog.LevelError:
		before.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		before.WriteString("warning: ")
	}
	for _, a := range attrs {
		switch text := a.Value.String(); a.Key {
		case "port":
			if text != "" {
				before.WriteString(text + ": ")
			}
		case "queue":
			before.WriteString("queue " + text + ": ")
		default:
			fmt.Fprintf(&after, " %s=%s", a.Key, text)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.w, "%s: %s%s%s\n", h.program, before.String(), strings.ReplaceAll(r.Message, "\n", "; "), after.String())
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.attrs = append(slices.Clone(h.attrs), attrs...)
	return &clone
}

func (h *lineHandler) WithGroup(string) slog.Handler { return h }
