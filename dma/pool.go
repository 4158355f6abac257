package dma

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/ixcap/ixcap/hugepage"
)

// cacheLine keeps two buffers from sharing a line, in bytes.
const cacheLine = 64

// Pool is packet buffers of one size in fixed places. Its methods but Close may
// be used by several goroutines.
type Pool struct {
	area    *Area
	bytes   []byte // buffers*stride bytes
	base    IOVA
	buffers int
	size    int // of a buffer
	stride  int // from one buffer to the next, a power of two that divides the page
}

// NewPool allocates that many zeroed buffers of bufferSize bytes and maps them
// for m's device. A buffer must fit a page.
func NewPool(m Mapper, buffers, bufferSize int, o hugepage.Options) (*Pool, error) {
	if buffers <= 0 || bufferSize <= 0 {
		return nil, fmt.Errorf("buffer pool %s: %d buffers of %d bytes: want at least one of each", o.Name, buffers, bufferSize)
	}
	if bufferSize > math.MaxInt/4 {
		return nil, fmt.Errorf("buffer pool %s: buffers of %d bytes are too large", o.Name, bufferSize)
	}
	stride := max(cacheLine, 1<<bits.Len(uint(bufferSize-1)))
	if buffers > math.MaxInt/2/stride {
		return nil, fmt.Errorf("buffer pool %s: %d buffers of %d bytes are too many", o.Name, buffers, bufferSize)
	}
	page, err := o.Pages.Bytes()
	if err != nil {
		return nil, fmt.Errorf("buffer pool %s: %w", o.Name, err)
	}
	// The stride is a power of two, like the page: one divides the other.
	if stride > page {
		return nil, fmt.Errorf("buffer pool %s: a buffer of %d bytes does not fit a page (%d bytes); use huge pages or smaller buffers", o.Name, bufferSize, page)
	}
	area, err := NewArea(m, buffers*stride, o)
	if err != nil {
		return nil, err
	}
	return &Pool{area: area, bytes: area.Bytes(), base: area.IOVA(), buffers: buffers, size: bufferSize, stride: stride}, nil
}

// IOVA is where the device sees buffer i: Base() + i*Stride(). It panics when
// there is no buffer i.
func (p *Pool) IOVA(i int) IOVA {
	if uint(i) >= uint(p.buffers) {
		panic("dma: no such buffer")
	}
	return p.base + IOVA(i*p.stride)
}

// Bytes is buffer i, BufferSize bytes. It panics when there is no buffer i. The
// slice must not be used after Close.
func (p *Pool) Bytes(i int) []byte {
	at := i * p.stride
	return p.bytes[at : at+p.size : at+p.size]
}

// Base is where the device sees buffer 0.
func (p *Pool) Base() IOVA { return p.base }

// Stride is the distance from one buffer to the next, in bytes.
func (p *Pool) Stride() int { return p.stride }

// Len is the number of buffers.
func (p *Pool) Len() int { return p.buffers }

// BufferSize is the size of a buffer in bytes.
func (p *Pool) BufferSize() int { return p.size }

// Memory is what the pool is made of, buffer 0 first. It stays the pool's.
func (p *Pool) Memory() *hugepage.Memory { return p.area.Memory() }

// Close takes the buffers from the device, then frees them. Closing again does nothing.
func (p *Pool) Close() error {
	p.bytes = nil
	return p.area.Close()
}
