package capture

import (
	"sync"
	"sync/atomic"
)

// frameCount limits the number of frames that an engine stores, over all queues.
type frameCount struct {
	left    atomic.Int64
	reached chan struct{} // closed when the last frame is taken
	once    sync.Once
}

func newFrameCount(frames uint64) *frameCount {
	c := &frameCount{reached: make(chan struct{})}
	c.left.Store(int64(frames))
	return c
}

// take returns how many of n frames may be stored.
func (c *frameCount) take(n int) int {
	left := c.left.Add(-int64(n))
	if left <= 0 {
		c.once.Do(func() { close(c.reached) })
	}
	return max(0, n+int(min(left, 0)))
}

// limitCount removes the frames of a group that are beyond Config.Count. They count
// as filtered.
func (p *poller) limitCount(g *group) {
	n := p.config.Count.take(len(g.frames))
	p.path.filtered += uint64(len(g.frames) - n)
	g.truncate(n)
}
