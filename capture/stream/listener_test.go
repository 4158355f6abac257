package stream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBlocksStayUntilConsumed(t *testing.T) {
	s := newStream(t, Config{Size: 4 * Block, Segment: 2 * Block})
	p := s.Producer()
	l := listen(t, s, Options{})
	n := uint32(0)
	for ; p.Append(1, n, numbered(n, 1514), 0); n++ {
	}
	var blocks [][]byte
	var ends []bool
	for {
		b, err := l.ReadBlock(testContext(t), Block)
		if errors.Is(err, ErrReadAhead) {
			break
		}
		require.NoError(t, err)
		blocks, ends = append(blocks, b), append(ends, l.SegmentEnd())
	}
	require.Len(t, blocks, 3, "the fourth cannot be full before one is consumed")
	require.Equal(t, []bool{false, true, false}, ends)
	require.Equal(t, 3*Block, l.InFlight())
	require.False(t, p.Append(1, n, numbered(n, 1514), 0))

	copies := append([]byte(nil), blocks[1]...)
	require.NoError(t, l.Consume(Block/2))
	require.EqualValues(t, 0, l.Stats().Read, "frames count when their block is consumed")
	require.NoError(t, l.Consume(Block/2))
	st := l.Stats()
	require.NoError(t, st.Balanced())
	require.EqualValues(t, Block/(1514+RecordHeader)+1, st.Read)
	for ; p.Append(1, n, numbered(n, 1514), 0); n++ {
	}
	require.Equal(t, copies, blocks[1], "in flight, so untouched")
	require.ErrorContains(t, l.Consume(2*Block+1), "are in flight")
	require.ErrorContains(t, l.Consume(-1), "are in flight")
	require.NoError(t, l.Consume(2*Block))
	b, err := l.ReadBlock(testContext(t), Block)
	require.NoError(t, err)
	require.Len(t, b, Block)

	_, err = l.ReadBlock(testContext(t), 0)
	require.ErrorContains(t, err, "choose")
	_, err = l.ReadBlock(testContext(t), 4*Block)
	require.ErrorContains(t, err, "larger buffer")
}

func TestWaitingReaderReturnsWhenItsContextEnds(t *testing.T) {
	s := newStream(t, Config{})
	p := s.Producer()
	require.True(t, p.Append(1, 1, numbered(1, 60), 0))
	p.Publish()
	for name, read := range map[string]func(context.Context, *Listener) error{
		"batch": func(ctx context.Context, l *Listener) error {
			_, err := l.ReadBatch(ctx, make([]Packet, 1))
			return err
		},
		"block": func(ctx context.Context, l *Listener) error {
			_, err := l.ReadBlock(ctx, Block)
			return err
		},
		"packets": func(ctx context.Context, l *Listener) error {
			for range l.Packets(ctx) {
				t.Error("there is no packet")
			}
			return l.Err()
		},
	} {
		for _, aligned := range []bool{false, true} {
			l := listen(t, s, Options{Aligned: aligned})
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(5*time.Millisecond, cancel)
			start := time.Now()
			require.ErrorIs(t, read(ctx, l), context.Canceled, name)
			require.Less(t, time.Since(start), 60*time.Second)

			time.AfterFunc(5*time.Millisecond, func() { _ = l.Close() })
			require.ErrorIs(t, read(t.Context(), l), ErrClosed, name)
			require.ErrorIs(t, read(t.Context(), l), os.ErrClosed, name)
			require.ErrorIs(t, read(t.Context(), l), ErrClosed, name)
			require.NoError(t, l.Close(), "twice")
			require.NoError(t, l.Stats().Balanced())
		}
	}
	require.Empty(t, s.Stats().Listeners)
}

func TestBreakInALoopOverPacketsReadsNoMore(t *testing.T) {
	s := newStream(t, Config{})
	p := s.Producer()
	l := listen(t, s, Options{})
	for n := range uint32(300) {
		require.True(t, p.Append(1, n, numbered(n, 60), 0))
	}
	p.Finish()
	next := uint32(0)
	for _, take := range []int{1, 63, 64, 65, 3} {
		for pkt := range l.Packets(testContext(t)) {
			require.Equal(t, next, pkt.Nsec)
			next++
			if take--; take == 0 {
				break
			}
		}
		require.NoError(t, l.Err())
		require.EqualValues(t, next, l.Stats().Read)
	}
	for pkt := range l.Packets(testContext(t)) {
		if pkt.Nsec == 250 {
			require.NoError(t, l.Close(), "from inside the loop; the packet stays valid")
			require.True(t, intact(pkt.Data, 250))
		}
	}
	require.ErrorIs(t, l.Err(), ErrClosed)
}

func TestFromOldestReadsAllThatIsNotOverwritten(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	p := s.Producer()
	for _, total := range []uint32{0, 1, 100, 5000, 12345} {
		for uint32(p.seq) < total {
			n := uint32(p.seq)
			require.True(t, p.Append(1, n, numbered(n, 1000), 0))
			p.Publish()
		}
		l := listen(t, s, Options{Start: FromOldest})
		st := l.Stats()
		require.EqualValues(t, st.Stored, st.Unread)
		if total <= 100 {
			require.EqualValues(t, total, st.Stored)
		} else {
			require.Greater(t, st.Stored, uint64(Block/1012*3/4))
		}
		packets := make([]Packet, 2000)
		next := total - uint32(st.Stored)
		if total > 0 {
			n, err := l.ReadBatch(testContext(t), packets)
			require.NoError(t, err)
			require.EqualValues(t, st.Stored, n)
			for _, pkt := range packets[:n] {
				require.Equal(t, next, pkt.Nsec)
				require.True(t, intact(pkt.Data, next))
				next++
			}
		}
		require.NoError(t, l.Close())
	}
}

// Listen succeeds at any time, however much the producer has not published.
func TestListenNeverWaitsForTheProducer(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	p := s.Producer()
	for n := range uint32(5000) {
		require.True(t, p.Append(1, n, numbered(n, 1000), 0))
		if n%101 == 0 {
			for _, o := range []Options{{}, {Start: FromOldest}, {Policy: Lossy}, {Aligned: true}} {
				require.NoError(t, listen(t, s, o).Close())
			}
		}
	}
}

func TestStreamHasSixtyFourSlots(t *testing.T) {
	s := newStream(t, Config{Size: Block})
	var all []*Listener
	for range MaxListeners {
		all = append(all, listen(t, s, Options{}))
	}
	_, err := s.Listen("one more", Options{})
	require.ErrorContains(t, err, "64 listeners")
	require.NoError(t, all[17].Close())
	l := listen(t, s, Options{})
	require.Equal(t, 17, l.slot)
	_, err = s.Listen("odd", Options{Policy: 9})
	require.ErrorContains(t, err, "unknown policy")
}

// A slow lossy listener gets whole frames only and counts those it missed.
func TestLossyListenerCountsOverrunsExactly(t *testing.T) {
	for name, c := range map[string]Config{
		"by data":  {Size: Block, Segment: Block},
		"by index": {Size: Block, Entries: 256, Segment: 4 * Block},
	} {
		t.Run(name, func(t *testing.T) {
			const frames = 60000
			s := newStream(t, c)
			p := s.Producer()
			var readers sync.WaitGroup
			var listeners []*Listener
			var done atomic.Bool
			for i := range 3 {
				l := listen(t, s, Options{Policy: Lossy})
				listeners = append(listeners, l)
				readers.Go(func() {
					ctx := testContext(t)
					packets := make([]Packet, 100)
					r := rand.New(rand.NewPCG(uint64(i), 1))
					next, read := uint64(0), uint64(0)
					for {
						n, err := l.ReadBatch(ctx, packets)
						if errors.Is(err, io.EOF) {
							break
						}
						if err != nil {
							t.Error(err)
							return
						}
						for _, pkt := range packets[:n] {
							if uint64(pkt.Nsec) < next || !intact(pkt.Data, pkt.Nsec) {
								t.Errorf("frame %d after %d: torn or out of order", pkt.Nsec, next)
								return
							}
							next = uint64(pkt.Nsec) + 1
							read++
						}
						if r.IntN(20) == 0 && !done.Load() {
							time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
						}
					}
					st := l.Stats()
					if st.Read != read || st.Read+st.Overrun != frames || st.Unread != 0 {
						t.Errorf("read %d of %d: %+v", read, frames, st)
					}
				})
			}
			r := rand.New(rand.NewPCG(3, 4))
			for n := range uint32(frames) {
				if !p.Append(1, n, numbered(n, 60+r.IntN(1000)), 0) {
					require.Fail(t, "a lossy listener held the producer back")
				}
				if n%32 == 31 {
					p.Publish()
				}
				if n%1000 == 0 {
					for _, l := range s.Stats().Listeners {
						require.NoError(t, l.Balanced())
					}
				}
			}
			p.Finish()
			done.Store(true)
			readers.Wait()
			missed := uint64(0)
			for _, l := range listeners {
				st := l.Stats()
				require.NoError(t, st.Balanced())
				require.Equal(t, s.Stats().Bytes, st.ReadBytes+st.OverrunBytes)
				missed += st.Overrun
			}
			require.NotZero(t, missed, "the test is to be faster than its readers")
		})
	}
}

func TestLossyReaderOfBytesGetsErrOverrun(t *testing.T) {
	s := newStream(t, Config{Size: Block, Segment: 64 * Block})
	p := s.Producer()
	l := listen(t, s, Options{Policy: Lossy})
	n := uint32(0)
	store := func(frames int) {
		for range frames {
			require.True(t, p.Append(1, n, numbered(n, 1000), 0))
			n++
		}
		p.Publish()
	}
	store(200)
	b, err := l.ReadBlock(testContext(t), 64<<10)
	require.NoError(t, err)
	require.NoError(t, l.Consume(len(b)))
	_, err = l.ReadBlock(testContext(t), 64<<10)
	require.NoError(t, err)
	store(2000)
	require.ErrorIs(t, l.Consume(64<<10), ErrOverrun)
	require.Zero(t, l.InFlight())
	b, err = l.ReadBlock(testContext(t), 64<<10)
	require.NoError(t, err)
	require.NotZero(t, b[0], "begins with a record")
	store(2000)
	_, err = l.ReadBlock(testContext(t), 64<<10)
	require.ErrorIs(t, err, ErrOverrun)
	p.Finish()
	_, _, err = readSegments(t, testContext(t), l, 64<<10)
	require.NoError(t, err)
	st := l.Stats()
	require.NoError(t, st.Balanced())
	require.Zero(t, st.Unread)
	require.EqualValues(t, n, st.Read+st.Overrun)
	require.Equal(t, s.Stats().Bytes, st.ReadBytes+st.OverrunBytes)
}

// Listeners of all kinds attach and detach while the producer runs. Each reads whole
// frames without gaps, and its account balances at any moment.
func TestListenersAttachAndDetachAtAnyTime(t *testing.T) {
	s := newStream(t, Config{Size: Block, Segment: 2 * Block, Entries: 2048})
	p := s.Producer()
	ctx := testContext(t)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for i := range 6 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 99))
			packets := make([]Packet, 50)
			for !stop.Load() {
				o := Options{Policy: Policy(r.IntN(2)), Start: Start(r.IntN(2)), Aligned: r.IntN(4) == 0}
				l, err := s.Listen("client", o)
				if err != nil {
					t.Error(err)
					return
				}
				next, first := uint32(0), true
				for range r.IntN(50) {
					n, err := l.ReadBatch(ctx, packets)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Errorf("%+v: %v", o, err)
						break
					}
					for _, pkt := range packets[:n] {
						if !intact(pkt.Data, pkt.Nsec) || !first && (pkt.Nsec < next || o.Policy == Lossless && pkt.Nsec != next) {
							t.Errorf("%+v: frame %d where %d was next", o, pkt.Nsec, next)
							return
						}
						next, first = pkt.Nsec+1, false
					}
					if err := l.Stats().Balanced(); err != nil {
						t.Error(err)
						return
					}
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if err := l.Stats().Balanced(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	until := time.Now().Add(1500 * time.Millisecond)
	for n := uint32(0); time.Now().Before(until); n++ {
		p.appendWait(t, 1, n, numbered(n, 60+r.IntN(1000)))
		if n%16 == 0 {
			p.Publish()
		}
		if n%500 == 0 {
			st := s.Stats()
			require.Equal(t, st.Bytes, st.FrameBytes+st.Padding+RecordHeader*st.Frames)
			require.LessOrEqual(t, st.Fill, uint64(Block))
			for _, l := range st.Listeners {
				require.NoError(t, l.Balanced())
			}
		}
	}
	p.Finish()
	stop.Store(true)
	readers.Wait()
	require.Zero(t, s.Stats().CorruptCursors)
	require.Empty(t, s.Stats().Listeners)
}
