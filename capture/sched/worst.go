package sched

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	worstGaps = 8  // kept for the ledger
	freshGaps = 16 // excessive ones kept until the Reporter takes them
)

// gapLog passes gaps from the poller to other goroutines. The poller does not
// wait: while another goroutine holds mu, it keeps gaps for its next attempt.
type gapLog struct {
	pending [4]Gap // the poller's own
	kept    int
	dropped uint64 // excessive ones that pending had no room for

	mu        sync.Mutex // guards the following fields
	worst     [worstGaps]Gap
	n         int
	fresh     [freshGaps]Gap
	nf        int
	excessive uint64 // in total

	lost   [numCauses]atomic.Int64 // gapTimes, which the poller adds to also while mu is held
	absent atomic.Int64
}

// gapTimes is the time of gaps, added up.
type gapTimes struct {
	excessive [numCauses]time.Duration // by cause, as the poller judged it
	absent    time.Duration            // in all gaps of LongGap or more, in which the thread neither waited for a core nor for room
}

// since is the time since an earlier reading.
func (t *gapTimes) since(before *gapTimes) (d gapTimes) {
	for i := range t.excessive {
		d.excessive[i] = t.excessive[i] - before.excessive[i]
	}
	d.absent = t.absent - before.absent
	return d
}

// put is called by the poller.
func (b *gapLog) put(g *Gap) {
	b.absent.Add(int64(max(g.Length-g.Waited-g.Backpressure, 0)))
	if g.Excessive {
		b.lost[g.Cause.index()].Add(int64(g.Length))
	}
	if !b.mu.TryLock() {
		if b.kept < len(b.pending) {
			b.pending[b.kept] = *g
			b.kept++
		} else if g.Excessive {
			b.dropped++
		}
		return
	}
	b.flush()
	b.add(g)
	b.mu.Unlock()
}

// retry is called by the poller from time to time.
func (b *gapLog) retry() {
	if b.kept > 0 && b.mu.TryLock() {
		b.flush()
		b.mu.Unlock()
	}
}

// close is called when the poller has stopped; it may wait.
func (b *gapLog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
}

// flush needs mu.
func (b *gapLog) flush() {
	for i := range b.kept {
		b.add(&b.pending[i])
	}
	b.excessive += b.dropped
	b.kept, b.dropped = 0, 0
}

// add needs mu.
func (b *gapLog) add(g *Gap) {
	if g.Excessive {
		b.excessive++
		if b.nf < len(b.fresh) {
			b.fresh[b.nf] = *g
			b.nf++
		}
	}
	i := b.n
	for i > 0 && worse(g, &b.worst[i-1]) {
		i--
	}
	if i == len(b.worst) {
		return
	}
	b.n = min(b.n+1, len(b.worst))
	copy(b.worst[i+1:b.n], b.worst[i:])
	b.worst[i] = *g
}

// worse orders excessive gaps first, then the longest.
func worse(a, b *Gap) bool {
	if a.Excessive != b.Excessive {
		return a.Excessive
	}
	return a.Length > b.Length
}

// read returns the worst gaps, the worst first, and the number of excessive ones.
func (b *gapLog) read() (worst []Gap, excessive uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	worst = slices.Clone(b.worst[:b.n])
	for i := range worst {
		worst[i].End = worst[i].End.UTC().Round(0) // as encoding/json decodes it
	}
	return worst, b.excessive
}

// take returns the excessive gaps since it was last called, as far as they were
// kept, and the time of all gaps so far. It calls explain once for each gap.
func (b *gapLog) take(explain func(*Gap)) (fresh []Gap, lost gapTimes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range [][]Gap{b.worst[:b.n], b.fresh[:b.nf]} {
		for i := range list {
			if !list[i].explained {
				list[i].explained = true
				explain(&list[i])
			}
		}
	}
	fresh = slices.Clone(b.fresh[:b.nf])
	b.nf = 0
	for i := range b.lost {
		lost.excessive[i] = time.Duration(b.lost[i].Load())
	}
	lost.absent = time.Duration(b.absent.Load())
	return fresh, lost
}
