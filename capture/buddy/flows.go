package buddy

import (
	"math"
	"sync/atomic"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// bucketBits is the size of the table of flows: 4096 buckets for each receive queue.
const bucketBits = 12

// bucket is flows whose hashes fall together. Their frames come through one receive queue, so
// its capture thread alone uses it.
type bucket struct {
	target *Queue // capture queue
	last   uint64 // epoch of its last frames; 0: none yet
	moved  uint64 // epoch in which it has changed its capture queue
	seen   uint64 // frames captured until its last ones
}

// flows is the state of a capture thread in mode Flows.
type flows struct {
	buckets []bucket
	scratch []ring.Frame // of a chunk
	targets []uint8      // of its frames

	// Of each capture queue, for one chunk: what it weighs, its room, its frames and
	// buffers, and the last epoch that they have to wait for.
	weight, room [MaxQueues]float32
	count        [MaxQueues]int
	buffers      [MaxQueues]int64
	after        [MaxQueues]uint64
	begin        [MaxQueues]int
}

func newFlows(q *Queue) *flows {
	f := &flows{
		buckets: make([]bucket, 1<<bucketBits),
		scratch: make([]ring.Frame, q.pool.ChunkSize()), targets: make([]uint8, q.pool.ChunkSize()),
	}
	for i := range f.buckets {
		f.buckets[i].target = q
	}
	return f
}

// drawsOf returns the draws of weighted rendezvous hashing: bucket b goes to the queue k of n
// that has the largest product of its weight and draw b*n+k. A draw is -1/ln(u) with u of a
// uniform distribution in (0, 1).
func drawsOf(n int) []float32 {
	draws := make([]float32, n<<bucketBits)
	for i := range draws {
		x := (uint64(i) + 1) * 0x9e3779b97f4a7c15 // SplitMix64
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
		draws[i] = float32(-1 / math.Log((float64(x>>11)+0.5)/(1<<53)))
	}
	return draws
}

// bucketOf returns the bucket of an RSS hash, whose lower bits have chosen the receive queue.
func bucketOf(hash uint32) uint32 { return hash * 0x9e3779b1 >> (32 - bucketBits) }

// placeFlows places n frames from the given place of the table on: those of each bucket on the
// bucket's capture queue.
func (q *Queue) placeFlows(chunk driver.Chunk, at uint32, n int) {
	f := q.flows
	q.epochs.next(n, q.pool.ChunkSize())
	q.weigh()
	frames := q.frames[at : int(at)+n]
	for i := range frames {
		k := q.route(bucketOf(frames[i].Hash)).index
		f.targets[i] = uint8(k)
		f.count[k]++
		f.buffers[k] += int64(1 + len(frames[i].Rest))
	}
	views := int32(0)
	for k, sum := 0, 0; k < len(q.group.queues); k++ {
		f.begin[k] = sum
		if sum += f.count[k]; f.count[k] > 0 {
			views++
		}
	}
	if views > 1 {
		next := f.begin
		copy(f.scratch, frames)
		for i, k := range f.targets[:n] {
			frames[next[k]] = f.scratch[i]
			next[k]++
		}
	}
	part := &q.views[at]
	part.chunk = chunk
	part.left.Store(views)
	for k, target := range q.group.queues {
		if count := f.count[k]; count > 0 {
			q.place(part, at, at+uint32(f.begin[k]), count, f.buffers[k], target, f.after[k])
		}
		f.count[k], f.buffers[k], f.after[k] = 0, 0, 0
	}
}

// weigh determines the weights of the capture queues: their room, 0 above T.
func (q *Queue) weigh() {
	for k, one := range q.group.queues {
		backlog := one.backlog.Load()
		q.flows.weight[k], q.flows.room[k] = 0, 0
		if one.closed.Load() {
			continue
		}
		q.flows.room[k] = float32(max(1, one.length-backlog))
		if backlog <= one.limit {
			q.flows.weight[k] = q.flows.room[k]
		}
	}
}

// route returns the capture queue for a frame of a bucket.
func (q *Queue) route(number uint32) *Queue {
	b, e := &q.flows.buckets[number], &q.epochs
	now, captured := e.current.Load(), q.captured.Load()
	if b.last != now {
		// Frames of the bucket that are out are in earlier epochs: it may move.
		if to := q.better(b, number, captured); to != b.target {
			if !e.empty(b.last) {
				q.flows.after[to.index] = max(q.flows.after[to.index], b.last)
			}
			b.target, b.moved = to, now
			q.movedFlows.Add(1)
		}
		b.last = now
	}
	b.seen = captured
	return b.target
}

// better returns the capture queue that a bucket should have.
func (q *Queue) better(b *bucket, number uint32, captured uint64) *Queue {
	f, at := q.flows, b.target
	switch {
	case at != q && captured-b.seen > uint64(q.length) && f.weight[q.index] > 0:
		return q
	case f.weight[at.index] > 0:
		return at
	case f.room[at.index] > 0 && b.moved != 0 && !q.epochs.empty(b.moved):
		return at // it has just moved
	}
	best, most := at, float32(0)
	draws := q.group.draws[int(number)*len(q.group.queues):]
	for k, other := range q.group.queues {
		weight := f.weight[k]
		if other == at {
			weight = f.room[k]
		}
		if score := weight * draws[k]; score > most {
			best, most = other, score
		}
	}
	if most > 0 {
		return best
	}
	return q.choose() // all are above T, and this one is closed
}

// maxEpochs is how many epochs there may be with views that are out.
const maxEpochs = 64

// epochs count the views of a receive queue that are out, by when they were placed.
type epochs struct {
	counts [maxEpochs]struct {
		views atomic.Int64
		_     [56]byte
	}
	current atomic.Uint64 // written by the capture thread
	oldest  atomic.Uint64 // all before are empty
	frames  int           // of the current one; the capture thread's
}

func (e *epochs) begin() {
	e.current.Store(1)
	e.oldest.Store(1)
}

// out returns the number of views of an epoch that are out.
func (e *epochs) out(epoch uint64) *atomic.Int64 { return &e.counts[epoch%maxEpochs].views }

// next begins an epoch if the current one has enough frames and there may be one more. n
// frames are added to the current one.
func (e *epochs) next(n, enough int) {
	if e.frames >= enough {
		e.advance()
		if current := e.current.Load(); current+1-e.oldest.Load() < maxEpochs {
			e.current.Store(current + 1)
			e.frames = 0
		}
	}
	e.frames += n
}

// empty reports whether an epoch and all before it have no view that is out. The current one is
// never empty.
func (e *epochs) empty(epoch uint64) bool {
	if epoch < e.oldest.Load() {
		return true
	}
	e.advance()
	return epoch < e.oldest.Load()
}

// advance advances oldest. A slot is used again only when oldest is past its epoch, so if the
// exchange succeeds the count that was loaded is that of the epoch, which has ended.
func (e *epochs) advance() {
	for {
		oldest := e.oldest.Load()
		if oldest == e.current.Load() || e.out(oldest).Load() != 0 {
			return
		}
		e.oldest.CompareAndSwap(oldest, oldest+1)
	}
}
