package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Source is what is stored: a stream.Listener that began at the start of a
// segment. The contracts are its.
type Source interface {
	ReadBlock(ctx context.Context, max int) ([]byte, error)
	SegmentEnd() bool
	Consume(n int) error
}

const (
	// Block is the default of Config.Block, and what it is a multiple of.
	Block = rawfile.Block

	maxBlock      = 4 * Block
	defaultDepth  = 4
	defaultFlush  = time.Second
	defaultBuffer = 256 << 20
)

// Config says how a Storer works. Zero values stand for the defaults.
type Config struct {
	Port    string        // name of the port, for file names
	Queue   int           // its queue
	Segment int64         // bytes of a full file; default rawfile.DefaultSegment
	Block   int           // bytes written at once: 1, 2, 3 or 4 MiB; default 1 MiB
	Depth   int           // blocks written at once, in each folder; default 4. Where O_DIRECT is not taken it is 1
	Flush   time.Duration // what waits longer than this is written before its block is full; default 1 s
	Sync    Sync          // when the disk is told to keep what it has; default SyncAtClose
	NoIndex bool          // no sidecars
	Buffer  int           // bytes of the source's buffer, by which the index knows that it lags; default 256 MiB

	// Grow lengthens files by what is reserved for them, up to 64 MiB before it is
	// written. Some file systems (ext4, xfs) then write several blocks at once that
	// otherwise wait for each other. The price: a file whose writer was killed has
	// zeros behind its last record, which may look whole, until it is repaired; the
	// zeros are a hole (SEEK_HOLE), by which index.Repair and searches know.
	Grow bool

	// Rotate asks the source to begin a segment soon, so that storing can go on
	// after a failure; nil: it goes on with the next segment there is.
	Rotate func()

	// Closed is called with the path of each file that got its final name, possibly
	// by several goroutines at once; nil: not called.
	Closed func(path string)

	Logger *slog.Logger // for failures that storing survives; nil discards
}

// Check says what is wrong with the settings.
func (c Config) Check() error {
	switch {
	case c.Depth < 0:
		return fmt.Errorf("%d blocks in flight: choose at least 1", c.Depth)
	case c.Depth > maxFlying:
		return fmt.Errorf("%d blocks in flight: choose at most %d", c.Depth, maxFlying)
	case c.Block < 0 || c.Block > maxBlock || c.Block%Block != 0:
		return fmt.Errorf("blocks of %d bytes: choose 1, 2, 3 or 4 MiB", c.Block)
	case c.Flush < 0:
		return fmt.Errorf("flush after %v: choose a time to come", c.Flush)
	}
	return nil
}

func (c Config) withDefaults() Config {
	c.Segment = cmp.Or(c.Segment, rawfile.DefaultSegment)
	c.Block = cmp.Or(c.Block, Block)
	c.Depth = cmp.Or(c.Depth, defaultDepth)
	c.Flush = cmp.Or(c.Flush, defaultFlush)
	c.Buffer = cmp.Or(c.Buffer, defaultBuffer)
	return c
}

// Sync says when a file is synced, so that a power failure takes nothing of it:
// SyncAtClose, SyncNever, or from time to time while it is written, and when it is
// closed.
type Sync time.Duration

const (
	SyncAtClose Sync = 0
	SyncNever   Sync = -1 // the kernel decides; what it then fails to write is not noticed
)

// ParseSync reads "close", "none", or a time such as "10s".
func ParseSync(text string) (Sync, error) {
	switch text {
	case "close":
		return SyncAtClose, nil
	case "none":
		return SyncNever, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond {
		return 0, fmt.Errorf("sync %q: choose close, none or a time such as 10s", text)
	}
	return Sync(d), nil
}

func (s Sync) String() string {
	switch {
	case s == SyncAtClose:
		return "close"
	case s < 0:
		return "none"
	}
	return time.Duration(s).String()
}

// MarshalText implements encoding.TextMarshaler.
func (s Sync) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sync) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSync(string(text))
	return err
}
