package capture_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/stream"
)

func TestLedgerContainsDetachedListeners(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	const clients = 70
	for range clients {
		l, err := e.Stream(0).Listen("client", stream.Options{})
		require.NoError(t, err)
		p.Queues[0].Put(10)
		packets := make([]stream.Packet, 10)
		for read := 0; read < 10; {
			n, err := l.ReadBatch(t.Context(), packets)
			require.NoError(t, err)
			read += n
		}
		require.NoError(t, l.Close()) // the last batch was not released by another read
	}
	stays, err := e.Stream(0).Listen("stays", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	defer stays.Close()
	require.NoError(t, e.Stop())
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	q := l.Queues[0]
	require.Len(t, q.Listeners, 1+64, "one is attached, the last 64 detached ones are kept")
	require.Equal(t, "stays", q.Listeners[0].Name)
	require.Empty(t, q.Listeners[0].DetachReason)
	require.Equal(t, "closed", q.Listeners[1].DetachReason)
	require.EqualValues(t, clients-64, q.OlderDetached.Listeners)
	require.NotZero(t, q.OlderDetached.Stored)

	var text strings.Builder
	require.NoError(t, l.WriteText(&text))
	require.Regexp(t, `stored for listener client \(lossless, pid \d+\), detached: closed\n`, text.String())
	require.Regexp(t, `stored for listener stays \(lossy, pid \d+\)\n`, text.String())
	require.Contains(t, text.String(), "stored for older detached listeners (6)")

	l.Queues[0].OlderDetached.Unread++
	require.ErrorIs(t, l.Balanced(), capture.ErrUnbalanced)
}
