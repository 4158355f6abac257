package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

func TestPacketsHaveOffsets(t *testing.T) {
	s, err := New(Config{Interface: "eth7", Queue: 3, Size: 4 * Block, Segment: Block, Node: hugepage.AnyNode})
	require.NoError(t, err)
	defer s.Close()
	l, err := s.Listen("reader", Options{Start: FromOldest})
	require.NoError(t, err)
	name, queue := l.Source()
	require.Equal(t, "eth7", name)
	require.Equal(t, 3, queue)

	const frames = 1500 // of 1012 bytes: two segments
	p := s.Producer()
	for range frames {
		require.True(t, p.Append(1, 1, &ring.Frame{Data: make([]byte, 1000), Len: 1000}, 0))
	}
	p.Finish()
	inFirst := uint64(Block-RecordHeader) / 1012
	n := uint64(0)
	for packet := range l.Packets(t.Context()) {
		segment, at := uint64(0), n*1012
		if n >= inFirst {
			segment, at = Block, Block+(n-inFirst)*1012
		}
		require.Equal(t, at, packet.Offset())
		start, ok := l.SegmentStart(at)
		require.True(t, ok)
		require.Equal(t, segment, start)
		n++
	}
	require.NoError(t, l.Err())
	require.EqualValues(t, frames, n)
	require.NoError(t, l.Close())
	_, ok := l.SegmentStart(0)
	require.False(t, ok, "closed")
	require.ErrorIs(t, l.SkipTo(0), ErrClosed)
}

func TestSkipToReadsTheFirstRecordAtOrAfter(t *testing.T) {
	for _, policy := range []Policy{Lossless, Lossy} {
		s, err := New(Config{Interface: "eth7", Size: 4 * Block, Segment: Block, Node: hugepage.AnyNode})
		require.NoError(t, err)
		defer s.Close()
		l, err := s.Listen("reader", Options{Policy: policy, Start: FromOldest})
		require.NoError(t, err)
		defer l.Close()
		p := s.Producer()
		for i := range 1500 {
			require.True(t, p.Append(1, uint32(1+i), &ring.Frame{Data: make([]byte, 1000), Len: 1000}, 0))
		}
		p.Publish()
		next := func() uint32 {
			var packets [1]Packet
			_, err := l.ReadBatch(t.Context(), packets[:])
			require.NoError(t, err)
			return packets[0].Nsec - 1
		}
		require.EqualValues(t, 0, next())
		require.NoError(t, l.SkipTo(10*1012))
		require.EqualValues(t, 10, next())
		require.NoError(t, l.SkipTo(20*1012+1), "in the middle of a record")
		require.EqualValues(t, 21, next())
		require.NoError(t, l.SkipTo(5), "never back")
		require.EqualValues(t, 22, next())
		require.NoError(t, l.SkipTo(Block-1), "padding")
		inFirst := uint32(Block-RecordHeader) / 1012
		require.Equal(t, inFirst, next())
		end := uint64(Block + (1500-inFirst)*1012)
		require.ErrorContains(t, l.SkipTo(end+1), "are published")
		require.NoError(t, l.SkipTo(end))
		st := l.Stats()
		require.NoError(t, st.Balanced())
		require.EqualValues(t, 1500, st.Read)
		require.Zero(t, st.Unread)
		require.Equal(t, end, st.ReadBytes)
		require.True(t, p.Append(1, 1501, &ring.Frame{Data: make([]byte, 60), Len: 60}, 0))
		p.Publish()
		require.EqualValues(t, 1500, next())
	}
}

func TestSkipToOverwrittenReturnsErrOverrun(t *testing.T) {
	s, err := New(Config{Interface: "eth7", Size: Block, Segment: Block, Node: hugepage.AnyNode})
	require.NoError(t, err)
	defer s.Close()
	l, err := s.Listen("reader", Options{Policy: Lossy, Start: FromOldest})
	require.NoError(t, err)
	defer l.Close()
	p := s.Producer()
	for i := range 5000 {
		require.True(t, p.Append(1, uint32(1+i), &ring.Frame{Data: make([]byte, 1000), Len: 1000}, 0))
	}
	p.Publish()
	require.ErrorIs(t, l.SkipTo(Block/2), ErrOverrun)
	require.Zero(t, l.Stats().Read)
	newest := s.Stats().Bytes - 1012
	require.NoError(t, l.SkipTo(newest))
	var packets [1]Packet
	_, err = l.ReadBatch(t.Context(), packets[:])
	require.NoError(t, err)
	require.EqualValues(t, 5000, packets[0].Nsec)
	require.NoError(t, l.Stats().Balanced())
}
