package capture

import (
	"slices"
	"sync"
)

const (
	worstStalls = 8  // kept for the ledger
	freshStalls = 16 // risky ones kept until the watcher takes them
)

// stallBook is where a poller leaves its stalls for others. It never waits: while
// somebody reads, the poller keeps what it has for the next time.
type stallBook struct {
	later  [4]Stall // the poller's own
	kept   int
	untold uint64 // risky ones that later had no room for

	mu    sync.Mutex // guards what follows
	worst [worstStalls]Stall
	n     int
	fresh [freshStalls]Stall
	nf    int
	risky uint64 // in all
}

// put is called by the poller.
func (b *stallBook) put(s *Stall) {
	if !b.mu.TryLock() {
		if b.kept < len(b.later) {
			b.later[b.kept] = *s
			b.kept++
		} else if s.Risky {
			b.untold++
		}
		return
	}
	b.empty()
	b.add(s)
	b.mu.Unlock()
}

// retry is called by the poller now and then.
func (b *stallBook) retry() {
	if b.kept > 0 && b.mu.TryLock() {
		b.empty()
		b.mu.Unlock()
	}
}

// end is called when the poller has ended; it may wait.
func (b *stallBook) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty()
}

// empty needs mu.
func (b *stallBook) empty() {
	for i := range b.kept {
		b.add(&b.later[i])
	}
	b.risky += b.untold
	b.kept, b.untold = 0, 0
}

// add needs mu.
func (b *stallBook) add(s *Stall) {
	if s.Risky {
		b.risky++
		if b.nf < len(b.fresh) {
			b.fresh[b.nf] = *s
			b.nf++
		}
	}
	i := b.n
	for i > 0 && worse(s, &b.worst[i-1]) {
		i--
	}
	if i == len(b.worst) {
		return
	}
	b.n = min(b.n+1, len(b.worst))
	copy(b.worst[i+1:b.n], b.worst[i:])
	b.worst[i] = *s
}

// worse puts those first that could have cost frames, then the longest.
func worse(a, b *Stall) bool {
	if a.Risky != b.Risky {
		return a.Risky
	}
	return a.Length > b.Length
}

// read returns the worst stalls, the worst first, and how many were risky.
func (b *stallBook) read() (worst []Stall, risky uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	worst = slices.Clone(b.worst[:b.n])
	for i := range worst {
		worst[i].At = worst[i].At.UTC().Round(0) // as JSON gives it back
	}
	return worst, b.risky
}

// take returns the risky stalls since it was last called, as far as there was
// room. Explain may add to a stall what the poller could not know; it is called
// for each that is new.
func (b *stallBook) take(explain func(*Stall)) (fresh []Stall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range [][]Stall{b.worst[:b.n], b.fresh[:b.nf]} {
		for i := range list {
			if !list[i].judged {
				list[i].judged = true
				explain(&list[i])
			}
		}
	}
	fresh = slices.Clone(b.fresh[:b.nf])
	b.nf = 0
	return fresh
}
