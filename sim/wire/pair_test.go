package wire

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func virtualPair(paced bool) (a, b *end, v *virtual) {
	v = &virtual{}
	a, b = newPair(paced, func() (func() int64, int64) { return v.Since, v.Start() })
	return a, b, v
}

func TestPairCarriesFramesBothWays(t *testing.T) {
	a, b, v := virtualPair(false)
	v.now = 700
	buffer := []byte("frame from a")
	require.NoError(t, a.Send(buffer))
	copy(buffer, "overwritten!")
	require.NoError(t, b.Send([]byte("frame from b")))
	frames := make([]Frame, 4)
	for _, c := range []struct {
		at   *end
		want string
	}{{b, "frame from a"}, {a, "frame from b"}} {
		n, err := c.at.Receive(frames, 0)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, c.want, string(frames[0].Data))
		require.EqualValues(t, virtualStart+700, frames[0].At)
		n, err = c.at.Receive(frames, 0)
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

func TestPairIsBounded(t *testing.T) {
	a, b, _ := virtualPair(false)
	fill := func(frame []byte) (n int) {
		for a.Send(frame) == nil {
			n++
		}
		require.ErrorIs(t, a.Send(frame), ErrBusy)
		return n
	}
	drain := func(want int) {
		frames := make([]Frame, 1000)
		got := 0
		for {
			n, err := b.Receive(frames, 0)
			require.NoError(t, err)
			if n == 0 {
				break
			}
			got += n
		}
		require.Equal(t, want, got)
	}
	for range 3 {
		n := fill(make([]byte, 60))
		require.Equal(t, pairFrames, n)
		drain(n)
		n = fill(make([]byte, 9000))
		require.InDelta(t, pairBytes/9000, n, 2)
		drain(n)
	}
	n := fill(make([]byte, 60))
	frames := make([]Frame, 1)
	_, err := b.Receive(frames, 0)
	require.NoError(t, err)
	require.ErrorIs(t, a.Send(make([]byte, 60)), ErrBusy, "the frame of the last Receive is in use")
	_, err = b.Receive(frames, 0)
	require.NoError(t, err)
	require.NoError(t, a.Send(make([]byte, 60)), "the next Receive releases it")
	drain(n - 1)
}

func TestLinePairPacesTheSender(t *testing.T) {
	a, b, v := virtualPair(true)
	sent := 0
	for a.Send(make([]byte, 60)) == nil {
		sent++
	}
	require.Equal(t, 320_000/672+1, sent, "32 us of frames are queued")
	frames := make([]Frame, 1000)
	received := 0
	for v.now = 0; v.now < 10_000; v.now++ {
		n, err := b.Receive(frames, 0)
		require.NoError(t, err)
		for _, f := range frames[:n] {
			received++
			require.Equal(t, int64(received)*672/10, f.At-virtualStart)
		}
	}
	require.Equal(t, 9_999*10/672, received)
	require.NoError(t, a.Send(make([]byte, 60)))
}

func TestPairIsUpWhileBothEndsAreOpen(t *testing.T) {
	a, b := NewPair()
	require.True(t, a.Up() && b.Up())
	require.NoError(t, b.Close())
	require.False(t, a.Up() || b.Up())
	require.NoError(t, a.Send([]byte{1}), "lost")
	require.ErrorIs(t, b.Send([]byte{1}), os.ErrClosed)
	_, err := b.Receive(make([]Frame, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	n, err := a.Receive(make([]Frame, 1), 0)
	require.NoError(t, err)
	require.Zero(t, n)
	require.ErrorContains(t, func() error { a, _ := NewPair(); return a.Send(make([]byte, maxFrame+1)) }(), "longer than 262144")
}

func TestPairBetweenThreadsKeepsOrderAndContent(t *testing.T) {
	for _, make2 := range []func() (Wire, Wire){NewPair, NewLinePair} {
		a, b := make2()
		const frames = 50_000
		go func() {
			data := make([]byte, 1514)
			for i := range frames {
				n := 60 + i%1455
				for j := range n {
					data[j] = byte(i)
				}
				binary.BigEndian.PutUint32(data, uint32(i))
				for errors.Is(a.Send(data[:n]), ErrBusy) {
					runtime.Gosched()
				}
			}
		}()
		got := make([]Frame, 32)
		last := int64(0)
		for i, start := 0, time.Now(); i < frames; {
			require.Less(t, time.Since(start), 30*time.Second, "frame %d does not arrive", i)
			n, err := b.Receive(got, 0)
			require.NoError(t, err)
			if n == 0 {
				runtime.Gosched()
			}
			for _, f := range got[:n] {
				if len(f.Data) != 60+i%1455 || binary.BigEndian.Uint32(f.Data) != uint32(i) || f.Data[len(f.Data)-1] != byte(i) || f.At < last {
					t.Fatalf("frame %d: %d bytes, number %d, at %d after %d", i, len(f.Data), binary.BigEndian.Uint32(f.Data), f.At, last)
				}
				last = f.At
				i++
			}
		}
		a.Close()
		b.Close()
	}
}

func BenchmarkPair(b *testing.B) {
	x, y := NewPair()
	data := make([]byte, 60)
	frames := make([]Frame, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = x.Send(data)
		if i%32 == 31 {
			_, _ = y.Receive(frames, 0)
		}
	}
}

func TestPairCarriesTheTransmitterState(t *testing.T) {
	a, b, _ := virtualPair(false)
	require.True(t, a.Up())
	require.True(t, b.Up())
	a.SetCarrier(false)
	require.True(t, a.Up(), "b's transmitter is on")
	require.False(t, b.Up())
	a.SetCarrier(true)
	require.True(t, b.Up())
	require.NoError(t, b.Close())
	require.False(t, a.Up())
}
