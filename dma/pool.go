package dma

import (
	"fmt"
	"math"

	"github.com/ixcap/ixcap/hugepage"
)

// cacheLine is the size of a cache line in bytes. Buffers begin on one.
const cacheLine = 64

// Stride returns the distance between buffers of a Pool in bytes: whole cache lines,
// one more than a buffer fills. At a power of two the first lines of all buffers
// would share a few sets of every cache and defeat the processor's prefetcher, which
// for short frames is the largest cost of a receive path (docs/PERF.md).
func Stride(bufferSize int) int { return (bufferSize+cacheLine-1)&^(cacheLine-1) + cacheLine }

// Pool is a set of packet buffers of one size in fixed places. Its methods but Close may
// be used by several goroutines.
type Pool struct {
	area    *Area
	bytes   []byte // buffers*stride bytes
	base    IOVA
	buffers int
	size    int // of a buffer
	stride  int // from one buffer to the next
}

// NewPool allocates zeroed buffers of bufferSize bytes and maps them for m's device at
// consecutive addresses: a buffer may cross a page boundary.
func NewPool(m Mapper, buffers, bufferSize int, o hugepage.Options) (*Pool, error) {
	if buffers <= 0 || bufferSize <= 0 {
		return nil, fmt.Errorf("buffer pool %s: %d buffers of %d bytes: want at least one of each", o.Name, buffers, bufferSize)
	}
	if bufferSize > math.MaxInt/4 {
		return nil, fmt.Errorf("buffer pool %s: buffers of %d bytes are too large", o.Name, bufferSize)
	}
	stride := Stride(bufferSize)
	if buffers > math.MaxInt/2/stride {
		return nil, fmt.Errorf("buffer pool %s: %d buffers of %d bytes are too many", o.Name, buffers, bufferSize)
	}
	area, err := NewArea(m, buffers*stride, o)
	if err != nil {
		return nil, err
	}
	return &Pool{area: area, bytes: area.Bytes(), base: area.IOVA(), buffers: buffers, size: bufferSize, stride: stride}, nil
}

// IOVA returns the device address of buffer i: Base() + i*Stride(). It panics if
// there is no buffer i.
func (p *Pool) IOVA(i int) IOVA {
	if uint(i) >= uint(p.buffers) {
		panic("dma: no such buffer")
	}
	return p.base + IOVA(i*p.stride)
}

// Bytes returns buffer i, BufferSize bytes. It panics if there is no buffer i. The
// slice must not be used after Close.
func (p *Pool) Bytes(i int) []byte {
	if uint(i) >= uint(p.buffers) {
		panic("dma: no such buffer")
	}
	at := i * p.stride
	return p.bytes[at : at+p.size : at+p.size]
}

// Base returns the device address of buffer 0.
func (p *Pool) Base() IOVA { return p.base }

// Stride returns the distance from one buffer to the next, in bytes.
func (p *Pool) Stride() int { return p.stride }

// Len returns the number of buffers.
func (p *Pool) Len() int { return p.buffers }

// BufferSize returns the size of a buffer in bytes.
func (p *Pool) BufferSize() int { return p.size }

// All returns the pool's memory with buffer i at byte i*Stride(); nil
// after Close.
func (p *Pool) All() []byte { return p.bytes }

// Close unmaps the buffers from the device, then frees them. Closing again does nothing.
func (p *Pool) Close() error {
	p.bytes = nil
	return p.area.Close()
}
