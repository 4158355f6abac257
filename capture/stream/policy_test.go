package stream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fillUp stores frames until a lossless listener holds the producer.
func fillUp(tb testing.TB, s *Stream, next *uint32) {
	p := s.Producer()
	for p.Append(1, *next, numbered(*next, 1000), 0) {
		*next++
		require.Less(tb, *next, uint32(1<<20))
	}
}

func TestWaitingListenerMadeLossyIsOverrunAtOnce(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	p, ctx := s.Producer(), testContext(t)
	l := listen(t, s, Options{})
	var reader sync.WaitGroup
	var overrun bool
	reader.Go(func() {
		packets := make([]Packet, 8)
		for {
			n, err := l.ReadBatch(ctx, packets)
			if err != nil {
				overrun = errors.Is(err, ErrOverrun)
				return
			}
			for _, pkt := range packets[:n] {
				if !intact(pkt.Data, pkt.Nsec) {
					t.Error("torn")
				}
			}
		}
	})
	require.NoError(t, s.SetPolicy(l.id, Lossy, 0))
	require.Eventually(t, func() bool { return l.Policy() == Lossy }, timeout, tick)
	att := s.attached[l.slot]
	require.Eventually(t, func() bool { return att.lossless.Load() == 0 }, timeout, tick)
	for n := range uint32(20000) {
		require.True(t, p.Append(1, n, numbered(n, 1000), 0), "no listener holds the producer")
		if n%64 == 0 {
			p.Publish()
		}
	}
	p.Finish()
	reader.Wait()
	require.False(t, overrun, "it held nothing when it was made lossy")
	st := l.Stats()
	require.NoError(t, st.Balanced())
	require.EqualValues(t, 20000, st.Read+st.Overrun)
}

func TestFramesInPlaceCountAsReadUnlessOverwritten(t *testing.T) {
	for name, c := range map[string]struct {
		back    bool // to lossless once overrun
		overrun bool
	}{
		"in time":                           {},
		"too late":                          {overrun: true},
		"too late, and made lossless again": {overrun: true, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStream(t, Config{Size: Block})
			l, next := listen(t, s, Options{}), uint32(0)
			fillUp(t, s, &next)
			packets := make([]Packet, 10)
			n, err := l.ReadBatch(testContext(t), packets)
			require.NoError(t, err)
			require.Equal(t, 10, n)
			require.NoError(t, s.SetPolicy(l.id, Lossy, 0))
			if c.overrun {
				total := next + 5000
				for next < total { // held for ackTimeout, and never again
					s.Producer().appendWait(t, 1, next, numbered(next, 1000))
					next++
				}
				s.Producer().Publish()
			}
			if c.back {
				require.NoError(t, s.SetPolicy(l.id, Lossless, 0))
			}
			want := uint64(10)
			if c.overrun {
				_, err = l.ReadBatch(testContext(t), packets)
				require.ErrorIs(t, err, ErrOverrun)
				want = 0
			}
			n, err = l.ReadBatch(testContext(t), packets)
			require.NoError(t, err, "once")
			require.NotZero(t, n)
			for _, pkt := range packets[:n] {
				require.True(t, intact(pkt.Data, pkt.Nsec))
			}
			st := l.Stats()
			require.NoError(t, st.Balanced())
			require.Equal(t, want, st.Read)
			require.Equal(t, c.overrun, st.Overrun > 0)
			require.Equal(t, !c.back, l.Policy() == Lossy)
			require.Equal(t, st.Policy, s.Stats().Listeners[0].Policy)
			if c.back {
				fillUp(t, s, &next)
				require.False(t, s.Producer().Append(1, next, numbered(next, 1000), 0), "the producer spares it again")
			}
		})
	}
}

func TestBlocksInFlightAreVoidOnlyIfOverwritten(t *testing.T) {
	s := newStream(t, Config{Size: 2 * Block})
	l, next := listen(t, s, Options{}), uint32(0)
	fillUp(t, s, &next)
	for range 2 {
		_, err := l.ReadBlock(testContext(t), Block/2)
		require.NoError(t, err)
	}
	require.NoError(t, s.SetPolicy(l.id, Lossy, 0))
	require.NoError(t, l.Consume(Block/2), "not overrun")
	require.Equal(t, Lossy, l.Policy())
	for range 5000 {
		s.Producer().appendWait(t, 1, next, numbered(next, 1000))
		next++
	}
	require.ErrorIs(t, l.Consume(Block/2), ErrOverrun)
	require.Zero(t, l.InFlight())

	_, err := l.ReadBlock(testContext(t), Block/4)
	require.NoError(t, err)
	require.NoError(t, s.SetPolicy(l.id, Lossless, 0))
	require.NoError(t, l.Consume(l.InFlight()-1))
	require.Equal(t, Lossless, l.Policy())
	fillUp(t, s, &next)
	require.NoError(t, l.Consume(1), "the producer spares what is in flight")
	require.NoError(t, l.Stats().Balanced())
}

// However often the policy changes, a listener reads whole frames in order and counts
// every gap. One that is always lossless misses nothing.
func TestPolicyMayChangeAtAnyTime(t *testing.T) {
	frames := uint32(60000)
	if raceEnabled {
		frames = 15000
	}
	s := newStream(t, Config{Size: Block, Entries: 2048, Segment: 4 * Block})
	srv, _ := serve(t, s, ServerConfig{})
	p, ctx := s.Producer(), testContext(t)
	type reader struct {
		*Listener
		read uint64
	}
	var readers []*reader
	for i := range 2 {
		readers = append(readers, &reader{Listener: listen(t, s, Options{Policy: Policy(i)})})
		readers = append(readers, &reader{Listener: attachTo(t, srv, Options{Policy: Policy(i)})})
	}
	var all sync.WaitGroup
	for i, l := range readers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			packets, next, last, torn := make([]Packet, 64), uint32(0), uint64(0), false
			for {
				n, err := l.ReadBatch(ctx, packets)
				if errors.Is(err, io.EOF) {
					return
				}
				if errors.Is(err, ErrOverrun) {
					l.read -= last
					last, torn = 0, false
					continue
				}
				if err != nil || torn {
					t.Errorf("after frame %d: torn %v, %v", next, torn, err)
					_ = l.Close()
					return
				}
				for _, pkt := range packets[:n] {
					if pkt.Nsec < next || !intact(pkt.Data, pkt.Nsec) {
						torn = true // the next call must return ErrOverrun
					}
					next = pkt.Nsec + 1
				}
				last = uint64(n)
				l.read += last
				if r.IntN(50) == 0 {
					time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
				}
			}
		})
	}
	reference := listen(t, s, Options{})
	var last uint32
	all.Go(func() { last = readAll(t, reference, 0) })
	r := rand.New(rand.NewPCG(5, 6))
	for n := range frames {
		p.appendWait(t, 1, n, numbered(n, 60+r.IntN(400)))
		if n%32 == 31 {
			p.Publish()
		}
		if n%500 == 0 {
			l := readers[r.IntN(len(readers))]
			require.NoError(t, s.SetPolicy(l.id, Policy(r.IntN(2)), 0))
			for _, st := range s.Stats().Listeners {
				require.NoError(t, st.Balanced())
			}
		}
	}
	p.Finish()
	all.Wait()
	require.EqualValues(t, frames, last)
	require.Zero(t, reference.Stats().Overrun)
	for _, l := range readers {
		st := l.Stats()
		require.NoError(t, st.Balanced())
		require.Equal(t, l.read, st.Read)
		require.EqualValues(t, frames, st.Read+st.Overrun)
	}
	require.Zero(t, s.Stats().CorruptCursors)
}

// A listener that is made lossless holds the producer from where it is, even if it
// was overrun long ago, until it has skipped ahead. The producer may be writing
// padding then, which takes no index entry.
func TestPaddingContinuesAfterAListenerMadeLosslessSkipsAhead(t *testing.T) {
	s := newStream(t, Config{Size: 8 * Block, Entries: 1024})
	p, next := s.Producer(), uint32(0)
	l := listen(t, s, Options{Policy: Lossy})
	for next < 3000 {
		require.True(t, p.Append(1, next, numbered(next, 500), 0))
		next++
	}
	p.Publish()
	require.NoError(t, s.SetPolicy(l.id, Lossless, 0))
	s.align.Add(1)
	p.Publish() // closes the segment: half a MiB of padding, more than was announced
	require.NotZero(t, p.padTo, "the producer holds the padding back")
	require.False(t, p.Append(1, next, numbered(next, 500), 0))

	_, err := l.ReadBatch(testContext(t), make([]Packet, 8))
	require.NoError(t, err)
	require.Equal(t, Lossless, l.Policy())
	require.NotZero(t, l.Stats().Overrun)
	require.True(t, p.Append(1, next, numbered(next, 500), 0), "the producer continues")
	require.NoError(t, l.Close())
}

func TestDetachAfterAppliesOnlyWhileFramesWait(t *testing.T) {
	const after = time.Minute
	s := newStream(t, Config{Size: Block})
	s.housekeeping = true // no housekeeper: the test calls sweep with times of its own
	hung := listen(t, s, Options{DetachAfter: after})
	next := uint32(0)
	start := time.Now()
	sweep := func(after time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sweep(start.Add(after))
	}
	sweep(0)
	sweep(10 * after)
	require.Len(t, s.Stats().Listeners, 1, "no frame waited")

	// A reader of bytes that has seen all frames waits for its block to fill.
	bytes := listen(t, s, Options{DetachAfter: after})
	require.True(t, s.Producer().Append(1, 0, numbered(0, 1000), 0))
	s.Producer().Publish()
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		defer cancel()
		for seen := &s.attached[bytes.slot].cursor.Seq; seen.Load() == 0 && ctx.Err() == nil; {
			time.Sleep(tick)
		}
	}()
	_, err := bytes.ReadBlock(ctx, Block/2)
	require.ErrorIs(t, err, context.Canceled)
	_, err = hung.ReadBatch(testContext(t), make([]Packet, 1))
	require.NoError(t, err)
	sweep(10 * after)
	sweep(11*after - 1)
	require.Len(t, s.Stats().Listeners, 2, "not yet")
	sweep(11 * after)
	st := s.Stats()
	require.Len(t, st.Listeners, 1)
	require.Len(t, st.RecentDetached, 1)
	require.Equal(t, hung.id, st.RecentDetached[0].ID)
	require.Equal(t, "read nothing for 1m0s", st.RecentDetached[0].DetachReason)
	require.EqualValues(t, 1, st.RecentDetached[0].Unread)
	_, err = hung.ReadBatch(testContext(t), make([]Packet, 1))
	require.ErrorIs(t, err, ErrDetached)
	require.ErrorContains(t, err, "read nothing for 1m0s")

	// A reader that holds so much that the producer stops counts as idle.
	next = 1
	fillUp(t, s, &next)
	for {
		if _, err = bytes.ReadBlock(testContext(t), Block/8); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrReadAhead)
	sweep(12 * after)
	sweep(13 * after)
	require.Empty(t, s.Stats().Listeners)
	require.True(t, s.Producer().Append(1, next, numbered(next, 1000), 0))

	// The housekeeper calls sweep.
	s.mu.Lock()
	s.housekeeping = false
	s.mu.Unlock()
	quick := listen(t, s, Options{DetachAfter: 10 * time.Millisecond})
	s.Producer().Publish()
	s.Producer().appendWait(t, 1, next, numbered(next, 1000))
	s.Producer().Publish()
	require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 3 }, timeout, tick)
	require.NoError(t, quick.Close())
	require.Equal(t, "read nothing for 10ms", quick.Stats().DetachReason)
}

func TestInvalidRequestsAreExplained(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	l := listen(t, s, Options{})
	require.ErrorContains(t, s.SetPolicy(l.id+1, Lossy, 0), "no listener 2 is attached")
	require.ErrorContains(t, s.SetPolicy(l.id, 7, 0), "unknown policy 7")
	require.ErrorContains(t, s.SetPolicy(l.id, Lossy, time.Second), "detach-after is for lossless listeners")
	require.ErrorContains(t, s.SetPolicy(l.id, Lossless, -1), "choose 0 or more")
	require.ErrorContains(t, s.Detach(99, ""), "no listener 99 is attached")
	_, err := s.Listen("x", Options{Policy: Lossy, DetachAfter: 1})
	require.ErrorContains(t, err, "detach-after is for lossless listeners")
	_, err = s.Listen("bell\a", Options{})
	require.ErrorContains(t, err, "printable")
	require.NoError(t, s.SetPolicy(l.id, Lossless, time.Hour))
	require.Equal(t, time.Hour, s.Stats().Listeners[0].DetachAfter)
	require.NoError(t, s.Detach(l.id, "a test"))
	_, err = l.ReadBatch(testContext(t), make([]Packet, 1))
	require.ErrorIs(t, err, ErrDetached)
	require.ErrorContains(t, err, "on request: a test")
	require.NoError(t, l.Close())
	require.Equal(t, "on request: a test", l.Stats().DetachReason)
	require.EqualValues(t, 1, s.Stats().DetachedTotal)
	require.Zero(t, s.Stats().CorruptCursors)
}

func TestLastFinalReportsAreKeptAndAllAreCounted(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	for range keptDetached + 10 {
		require.NoError(t, listen(t, s, Options{}).Close())
	}
	st := s.Stats()
	require.Len(t, st.RecentDetached, keptDetached)
	require.EqualValues(t, keptDetached+10, st.DetachedTotal)
	require.EqualValues(t, 11, st.RecentDetached[0].ID)
	require.EqualValues(t, keptDetached+10, st.RecentDetached[keptDetached-1].ID)
}
