package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Padding fills any rest of a segment exactly, with records whose lengths fit 16
// bits.
func TestPaddingFitsEveryLength(t *testing.T) {
	for rest := uint64(RecordHeader); rest <= 3*MaxRecord; rest++ {
		left := rest
		for left > 0 {
			size := padding(left)
			if size < RecordHeader || size > MaxRecord || size > left || (left-size != 0 && left-size < RecordHeader) {
				t.Fatalf("%d bytes: record of %d with %d to fill", rest, size, left)
			}
			left -= size
		}
	}
}

// A record that misses the end of the segment by any number of bytes around the
// limits does not straddle it.
func TestSegmentClosesExactlyAroundItsEnd(t *testing.T) {
	for gap := -3; gap < 2*RecordHeader+3; gap++ {
		for _, last := range []int{0, 60, MaxFrame - 11, MaxFrame} {
			if gap+last < 0 {
				continue // no earlier record ends there
			}
			s := newStream(t, Config{Size: 2 * Block, Segment: Block})
			l := listen(t, s, Options{})
			p := s.Producer()
			// Fill up to where a last record of that size would end gap bytes before the end.
			target := Block - gap - RecordHeader - last
			n := uint32(0)
			for at := 0; at < target; n++ {
				size := min(target-at, 30000)
				if rest := target - at - size; rest > 0 && rest < RecordHeader {
					size -= RecordHeader
				}
				require.True(t, p.Append(1, n, numbered(n, size-RecordHeader), 0))
				at += size
			}
			require.EqualValues(t, target, p.pos)
			require.True(t, p.Append(1, n, numbered(n, last), 0))
			fits := gap >= RecordHeader
			require.Equal(t, fits, p.pos <= Block, "gap %d, last %d", gap, last)
			require.True(t, p.Append(1, n+1, numbered(n+1, 100), 0))
			p.Finish()
			segments, _, err := readSegments(t, testContext(t), l, 64<<10)
			require.NoError(t, err)
			var got []record
			for i, b := range segments {
				if i == 0 && len(segments) > 1 {
					require.Len(t, b, Block)
				}
				got = append(got, parse(t, 0, b)...)
			}
			require.Len(t, got, int(n)+2)
			for i, r := range got {
				require.True(t, intact(r.data, uint32(i)))
			}
			require.NoError(t, l.Close())
			require.NoError(t, s.Close())
		}
	}
}

func TestAlignedListenerBeginsASegment(t *testing.T) {
	s := newStream(t, Config{Size: 4 * Block, Segment: 64 * Block})
	p := s.Producer()
	first := listen(t, s, Options{Aligned: true})
	for n := range uint32(1000) {
		require.True(t, p.Append(1, n, numbered(n, 60), 0))
	}
	p.Publish()
	second := listen(t, s, Options{Aligned: true})
	require.False(t, second.findStart(), "the segment is not closed before the producer does it")
	p.Publish()
	again := listen(t, s, Options{Aligned: true})
	p.Publish()
	for n := range uint32(500) {
		require.True(t, p.Append(1, 1000+n, numbered(1000+n, 60), 0))
	}
	p.Finish()

	segments, at, err := readSegments(t, testContext(t), first, Block)
	require.NoError(t, err)
	require.Zero(t, at)
	require.Len(t, segments, 2)
	require.Len(t, segments[0], Block, "closed at the next block")
	require.Len(t, parse(t, 0, segments[0]), 1000)
	require.Len(t, parse(t, 0, segments[1]), 500)

	for _, l := range []*Listener{second, again} {
		segments, at, err = readSegments(t, testContext(t), l, Block)
		require.NoError(t, err)
		require.EqualValues(t, Block, at)
		require.Len(t, segments, 1)
		require.Len(t, parse(t, 0, segments[0]), 500)
		st := l.Stats()
		require.NoError(t, st.Balanced())
		require.EqualValues(t, 500, st.Stored)
		require.EqualValues(t, 500, st.Read)
	}
	require.EqualValues(t, 2, s.Stats().Segments)
}

// An aligned start waits for a listener that has not read a full buffer, and nothing
// is stored in between.
func TestAlignedStartWaitsForTheSlowest(t *testing.T) {
	s := newStream(t, Config{Size: Block, Segment: 64 * Block})
	p := s.Producer()
	slow := listen(t, s, Options{})
	n := uint32(0)
	for ; p.Append(1, n, numbered(n, 1514), 0); n++ {
	}
	l := listen(t, s, Options{Aligned: true})
	for range 3 {
		p.Publish()
		require.False(t, p.Append(1, n, numbered(n, 60), 0))
	}
	packets := make([]Packet, 64)
	stored := n
	for got := uint32(0); got < stored; {
		k, err := slow.ReadBatch(testContext(t), packets)
		require.NoError(t, err)
		got += uint32(k)
		if p.Append(1, n, numbered(n, 60), 0) {
			n++
		}
	}
	for start := time.Now(); ; { // padding of up to a whole buffer goes through it in parts
		require.Less(t, time.Since(start), timeout)
		slow.release()
		ahead, err := slow.available(shortContext(t))
		if err == nil && ahead > 0 {
			break
		}
		if p.Append(1, n, numbered(n, 60), 0) {
			n++
		}
		p.Publish()
	}
	p.Finish()
	segments, at, err := readSegments(t, testContext(t), l, 64<<10)
	require.NoError(t, err)
	require.Zero(t, at%Block)
	require.NotZero(t, at)
	require.Len(t, segments, 1)
	require.Len(t, parse(t, 0, segments[0]), int(n-stored))
	require.NotZero(t, n-stored)
}

func TestRotateClosesASegmentThatHasFrames(t *testing.T) {
	s := newStream(t, Config{Size: 4 * Block, Segment: 64 * Block})
	p := s.Producer()
	l := listen(t, s, Options{Aligned: true})
	sent := uint32(0)
	appendSome := func(n int) {
		for range n {
			require.True(t, p.Append(1, sent, numbered(sent, 60), 0))
			sent++
		}
	}
	s.Rotate()
	p.Publish()
	require.EqualValues(t, 1, s.Stats().Segments, "an empty segment goes on")
	appendSome(10)
	p.Publish()
	require.EqualValues(t, 1, s.Stats().Segments, "once is for one segment")
	s.Rotate()
	s.Rotate()
	p.Publish()
	require.EqualValues(t, 2, s.Stats().Segments, "two requests before a Publish count once")
	appendSome(20)
	p.Publish()
	s.Rotate()
	p.Publish()
	appendSome(5)
	s.Rotate()
	p.Finish()
	p.Publish()

	segments, at, err := readSegments(t, testContext(t), l, Block)
	require.NoError(t, err)
	require.Zero(t, at)
	require.Len(t, segments, 3, "a stream that is finished begins none")
	next := uint32(0)
	for i, frames := range []int{10, 20, 5} {
		if i < 2 {
			require.Len(t, segments[i], Block, "padded to the next block")
		}
		records := parse(t, 0, segments[i])
		require.Len(t, records, frames)
		for _, r := range records {
			require.True(t, intact(r.data, next))
			next++
		}
	}
	st := s.Stats()
	require.EqualValues(t, st.Bytes, st.FrameBytes+st.Padding+RecordHeader*st.Frames)
	require.NoError(t, l.Stats().Balanced())
}

// Rotations from other goroutines, at any moment, split the stream between
// records and lose none.
func TestRotateAtAnyMomentKeepsEveryFrame(t *testing.T) {
	s := newStream(t, Config{Size: 2 * Block, Segment: 2 * Block})
	p := s.Producer()
	l := listen(t, s, Options{Aligned: true})
	done := make(chan struct{})
	var all [][]byte
	go func() {
		defer close(done)
		segments, _, err := readSegments(t, testContext(t), l, 64<<10)
		if err != nil {
			t.Error(err)
		}
		all = segments
	}()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.Rotate()
				pause()
			}
		}
	}()
	frames := uint32(0)
	for start := time.Now(); frames < 1500 || s.Stats().Segments < 3 && time.Since(start) < timeout; frames++ {
		p.appendWait(t, 1, frames, numbered(frames, 60+int(frames)%1400))
		if frames%16 == 0 {
			p.Publish()
		}
	}
	close(stop)
	p.Finish()
	<-done
	next := uint32(0)
	for i, b := range all {
		if i < len(all)-1 {
			require.Zero(t, len(b)%Block)
		}
		for _, r := range parse(t, 0, b) {
			require.EqualValues(t, next, r.nsec)
			require.True(t, intact(r.data, next))
			next++
		}
	}
	require.Equal(t, frames, next)
	require.Greater(t, len(all), 1, "none was rotated")
}

// A stream with a pool has a segment for each frame if it is asked to, however few bytes the
// pool has: padding takes none of them. A reader finds every start.
func TestReaderFindsEveryStartOfAPool(t *testing.T) {
	d := newDevice(t, 64)
	s := newStream(t, Config{Pool: d.Pool})
	l := listen(t, s, Options{})
	p, want := s.Producer(), 0
	for held := false; !held; want++ {
		held = !d.append(p, 1, numbered(uint32(want), 60))
		p.Publish()
		s.Rotate()
		p.Publish()
	}
	p.Finish()
	segments, _, err := readSegments(t, testContext(t), l, 64<<10)
	require.NoError(t, err)
	require.Equal(t, 64, len(segments))
	for i, b := range segments {
		require.True(t, intact(b[RecordHeader:RecordHeader+60], uint32(i)), "segment %d", i)
	}
}

// A request to close the segment is served once, also if the padding has to wait for a
// listener and the next frame completes it.
func TestRotationThatWaitsForAListenerClosesOneSegment(t *testing.T) {
	s := newStream(t, Config{Segment: 8 * Block})
	p := s.Producer()
	l := listen(t, s, Options{})
	n := uint32(0)
	store := func() bool {
		stored := p.Append(1, n, numbered(n, 5000), 0)
		if stored {
			n++
		}
		return stored
	}
	read := func() {
		_, err := l.TryReadBatch(make([]Packet, 64)) // releases those before
		require.NoError(t, err)
	}
	for store() {
	}
	p.Publish()
	read()
	read()
	for store() { // a little more than 2 MiB
	}
	s.Rotate()
	p.Publish()
	require.EqualValues(t, 1, s.Stats().Segments, "there is no room for the padding")
	for range 3 {
		for !store() {
			read()
		}
		p.Publish()
	}
	require.EqualValues(t, 2, s.Stats().Segments)
}
