package dedup

import (
	"fmt"
	"math/bits"
	"time"
)

// Index is the hash that selects a frame's slot.
type Index uint8

const (
	// IndexContent hashes what is compared.
	IndexContent Index = iota
	// IndexRSS uses the device's RSS hash, as HPCAP does; frames without one share
	// a slot.
	IndexRSS
)

func (x Index) String() string {
	switch x {
	case IndexContent:
		return "content"
	case IndexRSS:
		return "rss"
	}
	return fmt.Sprintf("index %d", uint8(x))
}

// ParseIndex parses content or rss.
func ParseIndex(s string) (Index, error) {
	for _, x := range []Index{IndexContent, IndexRSS} {
		if s == x.String() {
			return x, nil
		}
	}
	return 0, fmt.Errorf("index %q: choose content or rss", s)
}

// Config are a table's settings; zero values mean the defaults.
type Config struct {
	Window  time.Duration // the longest time between two copies; 0: 200 ms
	Records int           // of the whole table; 0: 32768
	Pools   int           // records per slot; 0: 8. Records / Pools is a power of two
	Index   Index

	// Bytes compared at the start of a frame; 0: all. Of frames of the same length
	// that differ only behind these bytes, all but the first are lost.
	Bytes int
	// Ignore are fields that are not compared. Of frames that differ only in these,
	// all but the first are lost.
	Ignore Fields
}

const (
	defaultWindow  = 200 * time.Millisecond
	defaultRecords = 32768
	defaultPools   = 8

	maxRecords = 1 << 24
	maxPools   = 1 << 10
	maxWindow  = time.Hour
)

// MaxFrame is the longest frame that is compared, in bytes. Longer ones are no
// duplicates: RAW cannot store them.
const MaxFrame = 1<<16 - 1

// WithDefaults sets the defaults and checks the settings.
func (c Config) WithDefaults() (Config, error) {
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.Records == 0 {
		c.Records = defaultRecords
	}
	if c.Pools == 0 {
		c.Pools = min(defaultPools, max(c.Records, 1))
	}
	switch {
	case c.Window < 0 || c.Window > maxWindow:
		return c, fmt.Errorf("dedup: window of %v: choose more than 0 and at most %v", c.Window, maxWindow)
	case c.Records < 1 || c.Records > maxRecords:
		return c, fmt.Errorf("dedup: %d records: choose 1 to %d", c.Records, maxRecords)
	case c.Pools < 1 || c.Pools > min(c.Records, maxPools):
		return c, fmt.Errorf("dedup: %d pools: choose 1 to %d", c.Pools, min(c.Records, maxPools))
	case c.Records%c.Pools != 0 || bits.OnesCount(uint(c.Records/c.Pools)) != 1:
		return c, fmt.Errorf("dedup: %d records in %d pools: choose a power of two for each pool, as %d records",
			c.Records, c.Pools, c.Pools<<(bits.Len(uint(c.Records/c.Pools))-1))
	case c.Bytes < 0 || c.Bytes > MaxFrame:
		return c, fmt.Errorf("dedup: %d bytes compared: choose 1 to %d, or 0 for whole frames", c.Bytes, MaxFrame)
	case c.Ignore&^allFields != 0:
		return c, fmt.Errorf("dedup: ignore fields %#x: choose of %v", uint8(c.Ignore), allFields)
	case c.Index > IndexRSS:
		return c, fmt.Errorf("dedup: unknown %v: choose IndexContent or IndexRSS", c.Index)
	}
	return c, nil
}

// Check returns the error that New would return.
func (c Config) Check() error {
	_, err := c.WithDefaults()
	return err
}

// Loses says which frames these settings drop although they differ from the frame
// stored; it is empty if only exact copies are dropped.
func (c Config) Loses() string {
	switch {
	case c.Bytes != 0 && c.Ignore != 0:
		return fmt.Sprintf("frames that differ only behind the first %d bytes or in %v", c.Bytes, c.Ignore)
	case c.Bytes != 0:
		return fmt.Sprintf("frames of the same length that differ only behind the first %d bytes", c.Bytes)
	case c.Ignore != 0:
		return fmt.Sprintf("frames that differ only in %v", c.Ignore)
	}
	return ""
}
