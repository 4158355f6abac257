package packetsource_test

import (
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// frames are Ethernet frames with increasing source addresses.
func frames(t *testing.T, s *stream.Stream, n int) {
	data := make([]byte, 60)
	for i := range n {
		binary.BigEndian.PutUint32(data[8:], uint32(i))
		require.True(t, s.Producer().Append(1, uint32(i), &ring.Frame{Data: data, Len: 60}, 0))
	}
	s.Producer().Publish()
}

func source(t *testing.T, expression string) (*stream.Stream, *packetsource.Source) {
	s, err := stream.New(stream.Config{Interface: "test", Queue: 3, Size: 1 << 20, Node: hugepage.AnyNode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	l, err := s.Listen("test", stream.Options{})
	require.NoError(t, err)
	var filter *pcapfilter.Filter
	if expression != "" {
		filter, err = pcapfilter.Compile(expression)
		require.NoError(t, err)
	}
	src := packetsource.New(l, filter)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return s, src
}

func TestPacketsThatDoNotMatchAreCounted(t *testing.T) {
	s, src := source(t, "ether[11] & 3 = 1")
	frames(t, s, 1000)
	s.Producer().Finish()
	n := 0
	for p := range src.Packets(t.Context()) {
		require.EqualValues(t, 1+4*n, p.Nsec)
		n++
	}
	require.NoError(t, src.Err())
	require.Equal(t, 250, n)
	require.EqualValues(t, 750, src.Filtered())
	require.Equal(t, 3, src.Queue())
	st := src.Stats()
	require.EqualValues(t, 1000, st.Read)
	require.NoError(t, st.Balanced())
}

func TestLoopThatIsLeftGoesOnWhereItWas(t *testing.T) {
	s, src := source(t, "")
	frames(t, s, 10)
	s.Producer().Finish()
	for p := range src.Packets(t.Context()) {
		if p.Nsec == 3 {
			break
		}
	}
	require.NoError(t, src.Err())
	p, err := src.Next(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4, p.Nsec)
	data, info, err := src.ZeroCopyReadPacketData()
	require.NoError(t, err)
	require.Len(t, data, 60)
	require.Equal(t, 60, info.CaptureLength)
	require.Equal(t, 3, info.InterfaceIndex)
	require.EqualValues(t, 1e9+5, info.Timestamp.UnixNano())
	for range src.Packets(t.Context()) {
	}
	_, _, err = src.ReadPacketData()
	require.Equal(t, io.EOF, err)
}

func TestReadingDoesNotAllocate(t *testing.T) {
	s, src := source(t, "ether[11] & 1 = 1")
	ctx := context.Background()
	require.Zero(t, testing.AllocsPerRun(20, func() {
		frames(t, s, 64)
		for range 32 {
			if _, _, err := src.ZeroCopyReadPacketData(); err != nil {
				panic(err)
			}
		}
		_ = ctx
	}))
}
