package capturetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

const (
	stride     = 2112
	headroom   = 64
	bufferSize = 2000 // less than there is, so that a buffer has bytes of no frame
	chunk      = 16   // buffers
)

// Pool puts frames into the packet buffers of a stream's pool, as a device and its poller do.
type Pool struct {
	stream.Pool

	next  int      // buffer
	ends  []uint64 // per buffer, the number behind its frame
	frame [1]ring.Frame
}

// NewPool makes a pool with so many chunks of 16 buffers of 2000 bytes.
func NewPool(tb testing.TB, chunks int) *Pool {
	tb.Helper()
	buffers := chunks * chunk
	m, err := hugepage.Alloc(buffers*stride, hugepage.Options{Name: "pool", Pages: hugepage.Ordinary, Node: hugepage.AnyNode})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return &Pool{
		Pool: stream.Pool{Memory: m, Buffers: buffers, Stride: stride, Headroom: headroom, BufferSize: bufferSize},
		ends: make([]uint64, buffers),
	}
}

// Append is Producer.Append for a stream with the pool: it returns false if a lossless
// listener holds the buffers.
func (p *Pool) Append(to *stream.Producer, sec, nsec uint32, f *ring.Frame, caplen int) bool {
	need := max(1, (len(f.Data)+bufferSize-1)/bufferSize)
	for b := p.next; b < p.next+need; b++ {
		if at := b % p.Buffers; at%chunk == 0 && !to.Reuse(p.ends[at+chunk-1]) {
			return false
		}
	}
	placed := &p.frame[0]
	*placed = *f
	placed.Buffer, placed.Rest = uint32(p.next), placed.Rest[:0]
	left := f.Data
	for i := range need {
		at := p.next*stride + headroom
		b := p.Memory.Bytes()[at : at+bufferSize]
		b = b[:copy(b, left)]
		left = left[len(b):]
		if i == 0 {
			placed.Data = b
		} else {
			placed.Rest = append(placed.Rest, b)
		}
		p.next = (p.next + 1) % p.Buffers
	}
	keep := f.Len
	if caplen > 0 {
		keep = uint32(caplen)
	}
	to.Place([]clock.Stamp{clock.Stamp(uint64(nsec)<<32 | uint64(sec))}, []uint32{keep}, p.frame[:])
	for i := range need {
		p.ends[(p.next-1-i+p.Buffers)%p.Buffers] = to.Next()
	}
	return true
}
