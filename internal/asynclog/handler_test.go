package asynclog

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stalled is a handler that blocks until it is released.
type stalled struct {
	slog.Handler
	released chan struct{}
}

func (h stalled) Handle(ctx context.Context, r slog.Record) error {
	<-h.released
	return h.Handler.Handle(ctx, r)
}

func (h stalled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return stalled{h.Handler.WithAttrs(attrs), h.released}
}

func (h stalled) WithGroup(name string) slog.Handler {
	return stalled{h.Handler.WithGroup(name), h.released}
}

// newStalled returns a handler that writes text without times to b.
func newStalled(b *strings.Builder) stalled {
	text := slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return stalled{text, make(chan struct{})}
}

func TestNoGoroutineWaitsForAStalledHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		h := newStalled(&b)
		l, flush := Wrap(slog.New(h))
		ctx, cancel := context.WithCancel(t.Context())
		var logging sync.WaitGroup
		for range 8 {
			logging.Go(func() {
				for range 1000 {
					l.With("queue", 1).WithGroup("g").WarnContext(ctx, "message", "text", "long")
				}
			})
		}
		logging.Wait() // no goroutine is blocked
		cancel()
		dropped := Dropped(l)
		require.NotZero(t, dropped)
		flush()
		require.Empty(t, b.String())
		close(h.released)
		require.True(t, l.Handler().(NonBlocking).Flush(time.Second))
		written := strings.Count(b.String(), "level=WARN msg=message queue=1 g.text=long\n")
		require.EqualValues(t, 8000, uint64(written)+dropped)
		require.Contains(t, b.String(), " log messages dropped in the last 1s: the log was not read or could not be written\"\n")
	})
}

func TestWrapLeavesHandlersThatDoNotBlock(t *testing.T) {
	l, _ := Wrap(slog.New(slog.NewTextHandler(&strings.Builder{}, nil)))
	discard := slog.New(slog.DiscardHandler)
	for _, l := range []*slog.Logger{l, l.With("port", "eth2"), discard} {
		same, flush := Wrap(l)
		require.Same(t, l, same)
		flush()
	}
	none, _ := Wrap(nil)
	require.Equal(t, slog.DiscardHandler, none.Handler())
	require.Zero(t, Dropped(none))
}

func TestLevelsOfTheHandlerApply(t *testing.T) {
	l, _ := Wrap(slog.New(slog.NewTextHandler(&strings.Builder{}, &slog.HandlerOptions{Level: slog.LevelError})))
	require.False(t, l.Enabled(t.Context(), slog.LevelWarn))
	require.True(t, l.Enabled(t.Context(), slog.LevelError))
}

func TestNumberOfDroppedMessagesIsWritten(t *testing.T) {
	require.Equal(t, "1 log message dropped in the last 1.5s: the log was not read or could not be written", Note(1, 1500*time.Millisecond))
	require.Contains(t, Note(2, time.Second), "2 log messages dropped")
}
