package drivertest

import (
	"errors"
	"sync/atomic"
)

// Register is a region of one 32-bit register that remembers what was stored.
type Register struct {
	value  atomic.Uint32
	writes atomic.Int64
}

// Value is the register's value.
func (r *Register) Value() uint32 { return r.value.Load() }

// Writes is how often it was stored to.
func (r *Register) Writes() int { return int(r.writes.Load()) }

// Size is 4.
func (r *Register) Size() int64 { return 4 }

// Load32 is the value.
func (r *Register) Load32(uint32) uint32 { return r.value.Load() }

// Store32 replaces the value.
func (r *Register) Store32(_ uint32, v uint32) {
	r.value.Store(v)
	r.writes.Add(1)
}

// ReadAt and WriteAt are not needed by a tail register.
func (r *Register) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// WriteAt is not supported.
func (r *Register) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
