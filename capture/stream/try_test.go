package stream

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTryReadBatchDoesNotWait(t *testing.T) {
	for _, policy := range []Policy{Lossless, Lossy} {
		s := newStream(t, Config{Size: Block})
		l := listen(t, s, Options{Policy: policy})
		packets := make([]Packet, 4)
		try := func(want int) {
			t.Helper()
			n, err := l.TryReadBatch(packets)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		try(0)
		for i := range uint32(6) {
			require.True(t, s.Producer().Append(1, i, numbered(i, 60), 0))
		}
		try(0)
		s.Producer().Publish()
		try(4)
		require.EqualValues(t, 3, packets[3].Nsec)
		try(2)
		try(0)
		s.Producer().Finish()
		_, err := l.TryReadBatch(packets)
		require.Equal(t, io.EOF, err)
		n, err := l.ReadBatch(t.Context(), packets)
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		require.EqualValues(t, 6, l.Stats().Read)
		require.NoError(t, l.Close())
		_, err = l.TryReadBatch(packets)
		require.ErrorIs(t, err, ErrClosed)
	}
}
