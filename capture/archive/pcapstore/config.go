package pcapstore

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Config configures a Storer. Zero values stand for the defaults.
type Config struct {
	Port  string // name of the port, for file names and the interface's name
	Queue int    // its queue

	Format pcapfile.Format // default pcapng
	Level  int             // of zstd, 1 (fast) to 22 (small); 0: not compressed
	Size   int64           // bytes of a file on disk at most, unless a single packet is longer; default 2 GiB

	// Every ends files at midnight UTC and at multiples of it since then, by the
	// stamps of packets; without packets by the clock. 0: never; else 1 s to 24 h.
	Every time.Duration

	SnapLen int                // keep at most so many bytes of a packet; 0: all
	Filter  *pcapfilter.Filter // store only packets that match; nil: all
	Sync    store.Sync         // when files are synced
	Flush   time.Duration      // a packet is written after this time at the latest; default 1 s
	Workers int                // frames compressed at once; default 2

	Description string // of the interface; default "queue N"
	Speed       uint64 // bits a second; 0: not known
	CRC         bool   // frames end in their CRC

	// Counters returns the port's counters, for the statistics at a file's end and
	// the comments about losses. Several goroutines may call it at once. nil: not
	// known.
	Counters func() Counters

	// Closed is called with the path of each file that got its final name; nil: not
	// called.
	Closed func(path string)

	Logger *slog.Logger // for failures that storing survives; nil discards
}

// Counters are a port's frames since its start. They only grow.
type Counters struct {
	Received uint64 // reached the port
	Dropped  uint64 // of these, those the port lost
}

const (
	// MinSize is the least Config.Size, in bytes.
	MinSize = 256 << 10

	defaultFlush   = time.Second
	defaultWorkers = 2
)

// Check returns an error about the first invalid setting.
func (c Config) Check() error {
	if c.Format != "" {
		if err := c.Format.Check(); err != nil {
			return err
		}
	}
	switch {
	case c.Level < 0 || c.Level > pcapfile.MaxLevel:
		return fmt.Errorf("zstd level %d: choose 1 (fast) to %d (small), or 0 for none", c.Level, pcapfile.MaxLevel)
	case c.Size != 0 && c.Size < MinSize:
		return fmt.Errorf("files of %d bytes: choose at least %d", c.Size, MinSize)
	case c.SnapLen < 0 || c.SnapLen > rawfile.MaxData:
		return fmt.Errorf("%d bytes of a packet: choose 1 to %d, or 0 for all", c.SnapLen, rawfile.MaxData)
	case c.Flush < 0:
		return fmt.Errorf("flush after %v: must not be negative", c.Flush)
	case c.Workers < 0:
		return fmt.Errorf("%d frames compressed at once: choose at least 1", c.Workers)
	}
	return store.CheckPeriod(c.Every)
}

func (c Config) withDefaults() Config {
	c.Format = cmp.Or(c.Format, pcapfile.Pcapng)
	c.Size = cmp.Or(c.Size, rawfile.DefaultSegment)
	c.Flush = cmp.Or(c.Flush, defaultFlush)
	c.Workers = cmp.Or(c.Workers, defaultWorkers)
	c.Description = cmp.Or(c.Description, fmt.Sprintf("queue %d", c.Queue))
	return c
}

// suffix returns the suffix of file names.
func (c Config) suffix() string {
	if c.Level != 0 {
		return "." + string(c.Format) + archive.Zstd
	}
	return "." + string(c.Format)
}

// encoder returns the encoder of packets.
func (c Config) encoder() pcapfile.Encoder {
	e := pcapfile.Encoder{Format: c.Format, Interface: pcapfile.Interface{
		Name: c.Port, Description: c.Description, Speed: c.Speed, CRC: c.CRC, Snaplen: uint32(c.SnapLen), OS: system(),
	}}
	if c.Filter != nil {
		e.Filter = c.Filter.String()
	}
	return e
}

// system returns the operating system's name and version.
func system() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return strings.TrimSpace(unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]))
}
