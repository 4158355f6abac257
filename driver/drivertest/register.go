package drivertest

import (
	"errors"
	"sync/atomic"
)

// Register is a region of one 32-bit register that counts stores.
type Register struct {
	value  atomic.Uint32
	writes atomic.Int64
}

// Value returns the register's value.
func (r *Register) Value() uint32 { return r.value.Load() }

// Writes returns the number of stores.
func (r *Register) Writes() int { return int(r.writes.Load()) }

// Size returns 4.
func (r *Register) Size() int64 { return 4 }

// Load32 returns the value.
func (r *Register) Load32(uint32) uint32 { return r.value.Load() }

// Store32 sets the value.
func (r *Register) Store32(_ uint32, v uint32) {
	r.value.Store(v)
	r.writes.Add(1)
}

// ReadAt is not supported.
func (r *Register) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// WriteAt is not supported.
func (r *Register) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
