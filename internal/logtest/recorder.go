package logtest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Recorder keeps the log lines of its Logger. Any goroutine may use it.
type Recorder struct {
	mu    sync.Mutex
	lines []string
}

// Logger returns a logger that adds a line for each message of any level: the
// message, then its attributes as " key=value".
func (r *Recorder) Logger() *slog.Logger { return slog.New(&handler{recorder: r}) }

// Lines returns the lines so far.
func (r *Recorder) Lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// Text returns the lines so far as one text.
func (r *Recorder) Text() string { return strings.Join(r.Lines(), "\n") }

// Take returns the lines so far and forgets them.
func (r *Recorder) Take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

type handler struct {
	recorder *Recorder
	attrs    []slog.Attr
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) Handle(_ context.Context, m slog.Record) error {
	line := m.Message
	for _, a := range h.attrs {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	m.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	h.recorder.lines = append(h.recorder.lines, line)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.recorder, append(slices.Clone(h.attrs), attrs...)}
}

// Dropped and Flush make it a handler that does not block (internal/asynclog).
func (h *handler) Dropped() uint64          { return 0 }
func (h *handler) Flush(time.Duration) bool { return true }

func (h *handler) WithGroup(string) slog.Handler { return h }
