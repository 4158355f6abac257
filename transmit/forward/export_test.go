package forward

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
)

// Path is a path without ports.
type Path struct{ *path }

// NewPath returns the path from a pool to a transmit queue.
func NewPath(pool *driver.RxPool, tx *driver.TxQueue, base dma.IOVA, e Edit) Path {
	return Path{newPath(pool, tx, base, e, new(atomic.Bool))}
}

// Step forwards what has arrived, at most a batch, and returns how many frames.
func (p Path) Step() int {
	n := p.capture(batch)
	if n > 0 {
		p.forward()
	}
	return n
}

// Counts returns the counts so far.
func (p Path) Counts() Counts { return p.published() }

// Recycle recycles what was sent.
func (p Path) Recycle() { p.recycle() }

// Held returns how many parts of chunks wait to be sent.
func (p Path) Held() int { return int(p.tail - p.head) }
