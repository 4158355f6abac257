package driver_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// BenchmarkPoll measures polling a frame and posting its buffer again, without access
// to its bytes. ns/op is per frame.
func BenchmarkPoll(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprintf("size=%d/hot", size), func(b *testing.B) { benchPoll(b, size, false) })
		b.Run(fmt.Sprintf("size=%d/cold", size), func(b *testing.B) { benchPoll(b, size, true) })
	}
}

func benchPoll(b *testing.B, size int, cold bool) {
	r, err := drivertest.NewRing(drivertest.Options{})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	q := r.Queue()
	frames := make([]ring.Frame, 32)
	var spent time.Duration
	left := b.N
	for left > 0 {
		want := min(left, q.Size()-1)
		require.Equal(b, want, r.Fill(want, size))
		if cold {
			r.FlushCaches()
		}
		start := time.Now()
		for got := 0; got < want; {
			got += q.Poll(frames)
			q.Release()
		}
		spent += time.Since(start)
		left -= want
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}
