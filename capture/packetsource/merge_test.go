package packetsource_test

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// at appends a frame with a stamp.
func at(t *testing.T, s *stream.Stream, stamp time.Time) {
	t.Helper()
	data := make([]byte, 60)
	require.True(t, s.Producer().Append(uint32(stamp.Unix()), uint32(stamp.Nanosecond()), &ring.Frame{Data: data, Len: 60}, 0))
	s.Producer().Publish()
}

// queues are streams with a source each, and the merge of these.
func queues(t *testing.T, n int, hold time.Duration, expression string) (streams []*stream.Stream, sources []*packetsource.Source, m *packetsource.Merge) {
	for range n {
		s, src := source(t, expression)
		streams, sources = append(streams, s), append(sources, src)
	}
	return streams, sources, packetsource.NewMerge(hold, sources...)
}

func TestPacketsOfAllQueuesComeInTheOrderOfTheirStamps(t *testing.T) {
	streams, sources, m := queues(t, 5, time.Hour, "")
	r := rand.New(rand.NewPCG(1, 2))
	const packets = 6000
	go func() { // while they are read
		defer func() {
			for _, s := range streams {
				s.Producer().Finish()
			}
		}()
		data := make([]byte, 60)
		for i := range packets {
			s := streams[r.IntN(len(streams)-1)] // the last one gets none
			for !s.Producer().Append(100, uint32(i), &ring.Frame{Data: data, Len: 60}, 0) {
				time.Sleep(time.Millisecond)
			}
			if i%16 == 0 {
				s.Producer().Publish()
			}
		}
	}()
	n := 0
	of := map[*packetsource.Source]uint64{}
	for src, p := range m.Packets(t.Context()) {
		require.EqualValues(t, n, p.Nsec)
		of[src]++
		n++
	}
	require.NoError(t, m.Err())
	require.Equal(t, packets, n)
	require.Zero(t, m.Late())
	for _, src := range sources {
		st := src.Stats()
		require.Equal(t, of[src], st.Read)
		require.NoError(t, st.Balanced())
	}
	_, _, err := m.Next(t.Context())
	require.Equal(t, io.EOF, err)
}

func TestAQuietQueueHoldsPacketsNoLongerThanHold(t *testing.T) {
	const hold = 30 * time.Millisecond
	streams, _, m := queues(t, 2, hold, "")
	start := time.Now()
	at(t, streams[0], start)
	_, _, err := m.Next(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), hold)

	// One that is older than hold does not wait, whatever the clock of the stamps.
	at(t, streams[0], start.Add(time.Millisecond))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // an error if Next would wait
	time.Sleep(hold + 5*time.Millisecond)
	_, _, err = m.Next(ctx)
	require.NoError(t, err)
}

func TestStampsOfAnotherClockWaitForHoldAlone(t *testing.T) {
	for _, off := range []time.Duration{-1e5 * time.Hour, 37 * time.Second, 1e5 * time.Hour} {
		streams, _, m := queues(t, 2, 5*time.Millisecond, "")
		at(t, streams[0], time.Now().Add(off))
		_, _, err := m.Next(t.Context()) // it would wait forever
		require.NoError(t, err)
	}
}

func TestALatePacketIsReturnedAndCounted(t *testing.T) {
	streams, sources, m := queues(t, 2, time.Millisecond, "")
	now := time.Now()
	at(t, streams[0], now)
	_, src, err := m.Next(t.Context())
	require.NoError(t, err)
	require.Same(t, sources[0], src)
	at(t, streams[1], now.Add(-time.Second))
	_, src, err = m.Next(t.Context())
	require.NoError(t, err)
	require.Same(t, sources[1], src)
	require.EqualValues(t, 1, m.Late())
}

func TestFilteredPacketsSayHowFarAQueueIs(t *testing.T) {
	streams, sources, m := queues(t, 2, time.Hour, "ether[11] & 3 = 1")
	frames(t, streams[0], 2) // the second one matches
	frames(t, streams[1], 1) // and none here
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	_, _, err := m.Next(ctx)
	cancel()
	require.ErrorIs(t, err, context.DeadlineExceeded, "queue 1 may get one before")
	frames(t, streams[1], 4)
	p, src, err := m.Next(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Nsec)
	require.EqualValues(t, 5, sources[0].Filtered()+sources[1].Filtered())
	other := sources[1]
	if src == sources[1] {
		other = sources[0]
	}
	_, src, err = m.Next(t.Context())
	require.NoError(t, err)
	require.Same(t, other, src)
}

func TestMergeEndsWithTheErrorOfAQueue(t *testing.T) {
	streams, sources, m := queues(t, 2, time.Hour, "")
	at(t, streams[0], time.Now())
	require.NoError(t, sources[1].Listener.Close())
	_, _, err := m.Next(t.Context())
	require.ErrorIs(t, err, stream.ErrClosed)
	require.ErrorContains(t, err, "test queue 3")
}

func TestMergeClosesWhenTheContextIsDone(t *testing.T) {
	streams, _, m := queues(t, 2, time.Hour, "")
	at(t, streams[0], time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for range m.Packets(ctx) {
		require.Fail(t, "a packet that must wait")
	}
	require.ErrorIs(t, m.Err(), context.DeadlineExceeded)
	_, _, err := m.Next(t.Context())
	require.ErrorIs(t, err, stream.ErrClosed)
}

func TestMergingDoesNotAllocate(t *testing.T) {
	streams, _, m := queues(t, 3, 0, "")
	for _, s := range streams {
		frames(t, s, 3000)
	}
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		_, _, err := m.Next(t.Context())
		require.NoError(t, err)
	}))
}

func TestCloseEndsACallThatWaits(t *testing.T) {
	streams, _, m := queues(t, 2, time.Hour, "")
	at(t, streams[0], time.Now())
	time.AfterFunc(10*time.Millisecond, func() { _ = m.Close() })
	_, _, err := m.Next(t.Context())
	require.ErrorIs(t, err, stream.ErrClosed)
}
