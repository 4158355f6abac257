package capture_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
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

func TestLedgerContainsGroups(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	before := p.Queues[0]
	before.Put(10)
	require.Eventually(t, func() bool { return e.Stream(0).Stats().Frames == 10 }, testtime.Deadline, time.Millisecond)
	var members []*stream.Listener
	for range 2 {
		l, err := e.Stream(0).Listen("member", stream.Options{Fanout: "group=2\nmode=lb"})
		require.NoError(t, err)
		members = append(members, l)
		defer l.Close()
	}
	require.Eventually(t, func() bool {
		l, err := e.Ledger()
		require.NoError(t, err)
		g := l.Queues[0].Groups[0]
		return g.WithoutMembers == 10 // the poller has them
	}, testtime.Deadline, time.Millisecond)
	before.Put(100)
	read := 0
	for ctx := t.Context(); read < 50; read++ {
		for range members[0].Packets(ctx) {
			break
		}
	}
	require.NoError(t, e.Stop())
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	g := l.Queues[0].Groups[0]
	require.EqualValues(t, 110, g.Stored)
	require.EqualValues(t, 50, g.Members[0].Read)
	require.EqualValues(t, 50, g.Members[1].Unread)

	var text strings.Builder
	require.NoError(t, l.WriteText(&text))
	require.Regexp(t, `110 +frames +stored for fan-out group 2 \(lb\)\n`, text.String())
	require.Regexp(t, `10 +frames +without members\n`, text.String())
	require.Regexp(t, `50 +frames +assigned to member-\d+-2\n`, text.String())

	l.Queues[0].Groups[0].Members[0].Assigned++
	require.ErrorIs(t, l.Balanced(), capture.ErrUnbalanced)
	require.ErrorContains(t, l.Balanced(), "group 2: 110 frames stored, but 101 assigned + 0 unmatched + 10 without members")
}
