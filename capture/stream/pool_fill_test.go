package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// The fill of a stream with a pool is that of its buffers, those of dropped frames included.
func TestFillOfAPoolIsItsBuffers(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	require.Equal(t, 64*2112, s.BufferBytes())
	fast, slow := listen(t, s, Options{}), listen(t, s, Options{})
	listen(t, s, Options{Policy: Lossy})
	place := func(sizes ...int) {
		for _, size := range sizes {
			keep := uint32(max(size, 0))
			f := d.put(numbered(1, max(size, 60)))
			s.Producer().Place([]clock.Stamp{1}, []uint32{keep}, []ring.Frame{f})
		}
		s.Producer().Publish()
	}
	read := func(l *Listener, n int) {
		t.Helper()
		packets := make([]Packet, n)
		got, err := l.ReadBatch(testContext(t), packets)
		require.NoError(t, err)
		require.Equal(t, n, got)
		l.release()
	}
	require.Zero(t, s.Stats().Fill)
	place(60, 1514, 5000, 0, 60) // one buffer each, but three of the long frame
	require.EqualValues(t, 7*2112, s.Stats().Fill)
	read(fast, 4)
	require.EqualValues(t, 7*2112, s.Stats().Fill, "the slowest counts")
	read(slow, 3)
	require.EqualValues(t, 1*2112, s.Stats().Fill, "the last frame")
	read(slow, 1)
	require.Zero(t, s.Stats().Fill)
	for range 12 { // across the end of the pool
		place(60, 60, 60, 60, 60)
		require.EqualValues(t, 5*2112, s.Stats().Fill)
		read(fast, 5)
		read(slow, 5)
		require.True(t, s.Producer().Reuse(s.Producer().Next()))
	}
}
