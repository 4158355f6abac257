package capture

import (
	"fmt"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
)

// standstill watches whether the pollers that drain their queues get on, and who
// keeps them from it.
type standstill struct {
	moved uint64
	since time.Time
	read  map[held]uint64 // frames, when something moved last
}

// held is a lossless listener of another process.
type held struct {
	queue int
	id    uint64
}

// look returns for how long nothing has moved, the pollers nor what else is counted.
func (s *standstill) look(e *Engine, others uint64, now time.Time) time.Duration {
	if n := e.progress() + others; n != s.moved || s.since.IsZero() {
		s.moved, s.since, s.read = n, now, map[held]uint64{}
		e.guests(func(who held, l *stream.ListenerStats) { s.read[who] = l.Read })
	}
	return now.Sub(s.since)
}

// release lets go the listeners of other processes that have read nothing since:
// this program's capture does not end for want of their reading, and its own
// listeners get all frames. False: there is none.
func (s *standstill) release(e *Engine) (any bool) {
	e.guests(func(who held, l *stream.ListenerStats) {
		if before, was := s.read[who]; !was || l.Read != before || l.Unread == 0 {
			return
		}
		why := fmt.Sprintf("read nothing for %v while the capture ended", e.cfg.StallTimeout)
		if e.streams[who.queue].Detach(who.id, why) != nil {
			return // it has left meanwhile
		}
		any = true
		e.cfg.Logger.Warn(fmt.Sprintf("listener %s (pid %d) detached, %d frames lost to it: %s", l.Name, l.PID, l.Unread, why), "queue", who.queue)
	})
	s.since = time.Time{}
	return any
}

// guests calls f for the lossless listeners of other processes at queues that are
// not drained yet.
func (e *Engine) guests(f func(held, *stream.ListenerStats)) {
	for q, p := range e.pollers {
		select {
		case <-p.done:
			continue
		default:
		}
		listeners := e.streams[q].Stats().Listeners
		for i := range listeners {
			if l := &listeners[i]; l.Policy == stream.Lossless && l.PID != os.Getpid() {
				f(held{q, l.ID}, l)
			}
		}
	}
}
