package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
)

const fewestChunks = 2 // that the driver accepts

// CheckPools returns why no stream can have the ring-buffer pools of a configuration, which
// has Chunks; nil if it can.
func CheckPools(c Config) error {
	if err := c.CheckChunks(); err != nil {
		return err
	}
	if c.PoolBytes() > stream.MaxPool {
		one := c
		one.Chunks = 1
		return fmt.Errorf("pools of %d chunks: %d GiB each: want at most %d GiB, %d chunks", c.Chunks, c.PoolBytes()>>30, stream.MaxPool>>30, stream.MaxPool/one.PoolBytes())
	}
	return nil
}

// WithPools returns a configuration with ring-buffer pools. Without Chunks they take the
// memory that a stream of so many bytes and the receive buffers take otherwise.
func WithPools(c Config, buffer int) (Config, error) {
	if c.Chunks == 0 {
		c.Chunks = fewestChunks
		if err := CheckPools(c); err != nil {
			return c, err
		}
		c.Chunks = min(c.ChunksIn(buffer), c.ChunksIn(stream.MaxPool)-c.ChunksIn(0))
	}
	return c, CheckPools(c)
}

// LacksPools reports whether an error of Open is that the port can have no ring-buffer pools, or
// that the machine has too little memory for them.
func LacksPools(err error) bool {
	var missing *hugepage.MissingError
	return errors.Is(err, driver.ErrNoPools) || errors.Is(err, unix.ENOMEM) || errors.As(err, &missing)
}
