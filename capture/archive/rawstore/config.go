package rawstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// Source is a stream.Listener that began at the start of a segment, with the
// contracts of its methods.
type Source interface {
	ReadBlock(ctx context.Context, max int) ([]byte, error)
	SegmentEnd() bool
	BlockFrames() int
	Consume(n int) error
	Uncertainty() time.Duration
}

const (
	// Block is the default of Config.Block, which is a multiple of it, in bytes.
	Block = rawfile.Block

	maxBlock      = 4 * Block
	defaultDepth  = 4
	defaultFlush  = time.Second
	defaultBuffer = 256 << 20
)

// Config configures a Storer. Zero values stand for the defaults.
type Config struct {
	Port    string        // name of the port, for file names
	Queue   int           // its queue
	Segment int64         // bytes of a full file; default rawfile.DefaultSegment
	Block   int           // bytes of a write: 1, 2, 3 or 4 MiB; default 1 MiB
	Depth   int           // writes in flight in each folder; default 4. Without O_DIRECT it is 1
	Flush   time.Duration // a block that is not full is written after this time; default 1 s
	Sync    store.Sync    // when files are synced; default SyncAtClose
	NoIndex bool          // no sidecars
	Buffer  int           // bytes of the source's buffer, which bound how far the indexer may lag; default 256 MiB

	// Every rotates files at multiples of it since midnight UTC, by the clock. 0:
	// files end only when they are full; else 1 s to 24 h.
	Every time.Duration

	// Grow lengthens files by the reserved disk space, up to 64 MiB before it is
	// written. Some file systems (ext4, xfs) then write several blocks at once that
	// otherwise wait for each other. The price: a file whose writer was killed ends
	// with zeros, and may look whole until it is repaired. The zeros are a hole
	// (SEEK_HOLE), by which index.Repair and searches recognize them.
	Grow bool

	// Rotate requests that the source begins a segment soon: for Every, and for
	// storing after a failure. nil: the next segment begins when this one is full.
	Rotate func()

	// Closed is called with the path of each file that got its final name, possibly
	// by several goroutines at once; nil: not called.
	Closed func(path string)

	Logger *slog.Logger // for failures that storing survives; nil discards
}

// Check returns an error about the first invalid setting.
func (c Config) Check() error {
	switch {
	case c.Depth < 0:
		return fmt.Errorf("%d blocks in flight: choose at least 1", c.Depth)
	case c.Depth > maxInFlight:
		return fmt.Errorf("%d blocks in flight: choose at most %d", c.Depth, maxInFlight)
	case c.Block < 0 || c.Block > maxBlock || c.Block%Block != 0:
		return fmt.Errorf("blocks of %d bytes: choose 1, 2, 3 or 4 MiB", c.Block)
	case c.Buffer > 0 && 2*c.Block > c.Buffer:
		return fmt.Errorf("blocks of %d bytes: a buffer of %d bytes is too small for them, choose a larger buffer", c.Block, c.Buffer)
	case c.Flush < 0:
		return fmt.Errorf("flush after %v: must not be negative", c.Flush)
	}
	return store.CheckPeriod(c.Every)
}

func (c Config) withDefaults() Config {
	c.Segment = cmp.Or(c.Segment, rawfile.DefaultSegment)
	c.Block = cmp.Or(c.Block, Block)
	c.Depth = cmp.Or(c.Depth, defaultDepth)
	c.Flush = cmp.Or(c.Flush, defaultFlush)
	c.Buffer = cmp.Or(c.Buffer, defaultBuffer)
	if c.Rotate == nil {
		c.Rotate = func() {}
	}
	return c
}
