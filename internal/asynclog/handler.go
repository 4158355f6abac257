package asynclog

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// NonBlocking is a slog.Handler whose Handle does not wait for what it writes to. Wrap
// leaves such a handler as it is.
type NonBlocking interface {
	slog.Handler
	Dropped() uint64                  // messages so far that were not written
	Flush(timeout time.Duration) bool // waits until all messages are written; false: not all are
}

// flushTimeout is how long a flush waits for a log that is not read.
const flushTimeout = time.Second

// Wrap returns a logger that writes with l's handler, through a queue, and a function
// that waits until its messages are written, for a second at most. If l's handler does not
// block it returns l, and a function that does nothing: who made the queue flushes it.
// For nil the logger discards.
func Wrap(l *slog.Logger) (logger *slog.Logger, flush func()) {
	if l == nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	next := l.Handler()
	if _, ok := next.(NonBlocking); ok || next == slog.DiscardHandler {
		return l, func() {}
	}
	note := func(dropped uint64, over time.Duration) error {
		return next.Handle(context.Background(), slog.NewRecord(time.Now(), slog.LevelWarn, Note(dropped, over), 0))
	}
	h := &handler{NewQueue(note), next}
	return slog.New(h), func() { h.Flush(flushTimeout) }
}

// Note is the message that tells of dropped ones.
func Note(dropped uint64, over time.Duration) string {
	s := "s"
	if dropped == 1 {
		s = ""
	}
	return fmt.Sprintf("%d log message%s dropped in the last %v: the log was not read or could not be written", dropped, s, over.Round(time.Millisecond))
}

// Dropped is the number of messages of a logger that were not written; 0 if it did not
// come from Wrap.
func Dropped(l *slog.Logger) uint64 {
	if h, ok := l.Handler().(NonBlocking); ok {
		return h.Dropped()
	}
	return 0
}

// handler is a slog.Handler that queues its messages for another one.
type handler struct {
	*Queue
	next slog.Handler
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	r, ctx = r.Clone(), context.WithoutCancel(ctx)
	const most = 64 // bytes of a number, time or error, roughly
	size := len(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		size += len(a.Key) + most
		if a.Value.Kind() == slog.KindString {
			size += len(a.Value.String())
		}
		return true
	})
	h.Add(size, func() error { return h.next.Handle(ctx, r) })
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Queue, h.next.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Queue, h.next.WithGroup(name)}
}
