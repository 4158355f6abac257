package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

func newStream(tb testing.TB, c Config) *Stream {
	tb.Helper()
	if c.Size == 0 {
		c.Size = 2 * Block
	}
	c.Interface, c.Node = "eth0", hugepage.AnyNode
	s, err := New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func listen(tb testing.TB, s *Stream, o Options) *Listener {
	tb.Helper()
	l, err := s.Listen(tb.Name(), o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, l.Close()) })
	return l
}

// testContext returns a context that ends a hanging test.
func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), 60*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// numbered is a frame whose bytes all follow from its number.
func numbered(n uint32, length int) *ring.Frame {
	data := make([]byte, length)
	fill(data, n)
	return &ring.Frame{Data: data, Len: uint32(length), Hash: n, VLAN: uint16(n), Info: ring.HasHash}
}

func fill(data []byte, n uint32) {
	for i := range data {
		data[i] = byte(n) ^ byte(n>>8)*31 ^ byte(i)
	}
}

// intact reports whether data are the first bytes of frame n.
func intact(data []byte, n uint32) bool {
	for i, b := range data {
		if b != byte(n)^byte(n>>8)*31^byte(i) {
			return false
		}
	}
	return true
}

// appendWait stores a frame; it waits for lossless listeners.
func (p *Producer) appendWait(tb testing.TB, sec, nsec uint32, f *ring.Frame) {
	for start := time.Now(); !p.Append(sec, nsec, f, 0); {
		if time.Since(start) > 30*time.Second {
			tb.Error("held for 30 s")
			runtime.Goexit()
		}
		runtime.Gosched()
	}
}

// record is a record as a reader of bytes gets it.
type record struct {
	at          uint64
	sec, nsec   uint32
	caplen, len uint16
	data        []byte
}

// parse splits bytes that begin with a record at offset at. Records that extend
// beyond them fail the test. Padding is checked and dropped.
func parse(tb testing.TB, at uint64, b []byte) []record {
	tb.Helper()
	var all []record
	for len(b) > 0 {
		require.GreaterOrEqual(tb, len(b), RecordHeader, "header cut at %d", at)
		r := record{
			at:  at,
			sec: binary.LittleEndian.Uint32(b), nsec: binary.LittleEndian.Uint32(b[4:]),
			caplen: binary.LittleEndian.Uint16(b[8:]), len: binary.LittleEndian.Uint16(b[10:]),
		}
		size := RecordHeader + int(r.caplen)
		require.GreaterOrEqual(tb, len(b), size, "record cut at %d", at)
		r.data = b[RecordHeader:size]
		if r.sec == 0 && r.nsec == 0 {
			require.Equal(tb, r.caplen, r.len)
			require.Equal(tb, len(r.data), bytes.Count(r.data, []byte{0}), "padding at %d", at)
		} else {
			all = append(all, r)
		}
		at += uint64(size)
		b = b[size:]
	}
	return all
}

// readSegments reads blocks to the end of the stream and returns each segment's
// bytes, and the offset of the first.
func readSegments(tb testing.TB, ctx context.Context, l *Listener, block int) (segments [][]byte, first uint64, err error) {
	var now []byte
	started := false
	for {
		b, err := l.ReadBlock(ctx, block)
		if errors.Is(err, io.EOF) {
			if now != nil {
				segments = append(segments, now)
			}
			return segments, first, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if !started {
			first, started = l.Offset()-uint64(len(b)), true
		}
		now = append(now, b...)
		if l.SegmentEnd() {
			segments = append(segments, now)
			now = nil
		}
		if err := l.Consume(len(b)); err != nil {
			return nil, 0, err
		}
	}
}

func randomSize(r *rand.Rand) int {
	switch r.IntN(20) {
	case 0:
		return r.IntN(MaxFrame + 1)
	case 1:
		return 9000
	case 2, 3, 4, 5:
		return 1514
	default:
		return 60 + r.IntN(200)
	}
}

// shortContext returns a context for a wait that finds nothing.
func shortContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Millisecond)
	tb.Cleanup(cancel)
	return ctx
}

// How long a test waits for an event, and how often it checks.
const (
	timeout = 60 * time.Second
	tick    = time.Millisecond
)
