package control

import (
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
)

const (
	sampleEvery = 500 * time.Millisecond // every wake-up costs processor time
	rateOver    = time.Second
)

// rates keeps the counters of the last second, from which the rate is computed at
// any moment, for any number of clients.
type rates struct {
	engine *capture.Engine
	done   sync.WaitGroup
	mu     sync.Mutex
	kept   []capture.Counters // oldest first; the first is about a second old
}

func newRates(e *capture.Engine, done <-chan struct{}) *rates {
	r := &rates{engine: e, kept: []capture.Counters{e.Counters()}}
	r.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.keep(e.Counters())
			}
		}
	})
	return r
}

func (r *rates) wait() { r.done.Wait() }

// keep adds counters and removes those that are older than needed.
func (r *rates) keep(now capture.Counters) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, now)
	for len(r.kept) > 2 && now.At.Sub(r.kept[1].At) >= rateOver {
		r.kept = append(r.kept[:0], r.kept[1:]...)
	}
}

// now returns the rate of the last second.
func (r *rates) now() Rate {
	now := r.engine.Counters()
	r.mu.Lock()
	before := r.kept[0]
	for _, k := range r.kept {
		if now.At.Sub(k.At) >= rateOver {
			before = k
		}
	}
	r.mu.Unlock()
	since := now.Since(before)
	return Rate{
		Over: now.At.Sub(before.At), LostPerSecond: since.LostPerSecond,
		ReceivedBits: since.Received.Gbps * 1e9, Received: since.Received.Mpps * 1e6,
		StoredBits: since.Stored.Gbps * 1e9, Stored: since.Stored.Mpps * 1e6,
	}
}
