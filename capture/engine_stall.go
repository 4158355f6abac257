package capture

import (
	"fmt"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

// stallDetector measures for how long the pollers that drain their queues make no
// progress, and finds the listeners that cause it.
type stallDetector struct {
	progress uint64
	since    time.Time
	read     map[clientKey]uint64 // frames, at the last progress
}

// clientKey identifies a lossless listener of another process.
type clientKey struct {
	queue int
	id    uint64
}

// observe returns for how long neither the pollers nor others have made progress.
func (s *stallDetector) observe(e *Engine, others uint64, now time.Time) time.Duration {
	if n := e.progress() + others; n != s.progress || s.since.IsZero() {
		s.progress, s.since, s.read = n, now, map[clientKey]uint64{}
		e.eachClient(func(key clientKey, l *stream.ListenerStats) { s.read[key] = l.Read })
	}
	return now.Sub(s.since)
}

// detach detaches the listeners of other processes that have read nothing since the
// last progress, and reports whether there were any. The listeners of this process
// stay attached and read every frame.
func (s *stallDetector) detach(e *Engine) (any bool) {
	e.eachClient(func(key clientKey, l *stream.ListenerStats) {
		if before, known := s.read[key]; !known || l.Read != before || l.Unread == 0 {
			return
		}
		why := fmt.Sprintf("read nothing for %v while the capture ended", e.cfg.StallTimeout)
		if e.streams[key.queue].Detach(key.id, why) != nil {
			return // it has detached itself
		}
		any = true
		e.cfg.Logger.Warn(fmt.Sprintf("listener %s (pid %d) detached, %s unread: %s", l.Name, l.PID, units.Plural(l.Unread, "frame"), why), "queue", key.queue)
	})
	s.since = time.Time{}
	return any
}

// eachClient calls f for the lossless listeners of other processes at queues that
// are not drained yet.
func (e *Engine) eachClient(f func(clientKey, *stream.ListenerStats)) {
	for q, p := range e.pollers {
		select {
		case <-p.done:
			continue
		default:
		}
		listeners := e.streams[q].Stats().Listeners
		for i := range listeners {
			if l := &listeners[i]; l.Policy == stream.Lossless && l.PID != os.Getpid() {
				f(clientKey{q, l.ID}, l)
			}
		}
	}
}
