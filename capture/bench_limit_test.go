package capture

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver/drivertest"
)

// benchReader captures a ring of frames with the clock stopped, evicts the stream
// from the caches in cold runs, and measures a reader of all frames.
func benchReader(b *testing.B, size int, cold bool, reader func(*stream.Listener) func(frames int)) {
	r, err := drivertest.NewRing(drivertest.Options{})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	s := newTestStream(b, stream.Config{Size: 64 << 20})
	p := newPoller(r.Queue(), s.Producer(), newStamper(b), pollerConfig{Core: AnyCore})
	l, err := s.Listen("reader", stream.Options{})
	require.NoError(b, err)
	defer func() { require.NoError(b, l.Close()) }()
	read := reader(l)
	flush := make([]byte, 64<<20)

	const full = 4095
	var times median
	for left := b.N; left > 0; {
		want := min(left, full)
		require.Equal(b, want, r.Fill(want, size))
		for got := 0; got < want; {
			got += p.poll()
		}
		if cold {
			displace(flush)
		}
		start := time.Now()
		read(want)
		times.add(time.Since(start), want)
		left -= want
	}
	times.report(b)
}

// displace evicts everything else from the caches by filling them with b.
func displace(b []byte) {
	for i := 0; i < len(b); i += 64 {
		b[i]++
	}
}

// BenchmarkLimit measures the operations that every fast path contains, for
// comparison with the other figures of the same run.
func BenchmarkLimit(b *testing.B) {
	b.Run("tsc", func(b *testing.B) {
		inRounds(b, func(calls int) {
			var sum uint64
			for range calls {
				sum += clock.Ticks()
			}
			sink = sum
		})
	})
	b.Run("clock", func(b *testing.B) {
		inRounds(b, func(calls int) {
			var sum int
			for range calls {
				sum += time.Now().Nanosecond()
			}
			sink = uint64(sum)
		})
	})
	b.Run("copy60", func(b *testing.B) { benchCopy(b, 60, 2048) })
	b.Run("copy1514", func(b *testing.B) { benchCopy(b, 1514, 2048) })
	b.Run("memcpy4096", func(b *testing.B) { benchCopy(b, 4096, 4096) })
}

var sink uint64

// inRounds calls run for 4096 operations at a time, b.N in total.
func inRounds(b *testing.B, run func(operations int)) {
	var times median
	for left := b.N; left > 0; {
		n := min(left, 4096)
		start := time.Now()
		run(n)
		times.add(time.Since(start), n)
		left -= n
	}
	times.report(b)
}

// benchCopy copies frames like a fast path: from successive buffers of a ring of
// 4096 to a circular buffer of 64 MiB.
func benchCopy(b *testing.B, size, stride int) {
	const total = 64 << 20
	src, dst := make([]byte, 4096*stride), make([]byte, total)
	displace(src)
	displace(dst)
	at, from := 0, 0
	inRounds(b, func(frames int) {
		for range frames {
			copy(dst[at:at+size], src[from:from+size])
			if from += stride; from == len(src) {
				from = 0
			}
			if at += size; at+size > total {
				at = 0
			}
		}
	})
}
