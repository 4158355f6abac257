package buddy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/buddy"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// BenchmarkGroup measures a frame's way from the receive queue through a capture queue and
// back to the pool, by one thread, beside the pool alone; ns/op is per frame, the device's
// part left out. moved has a threshold that sends most of queue 0's frames to queue 1.
func BenchmarkGroup(b *testing.B) {
	b.Run("pool", func(b *testing.B) { benchGroup(b, nil) })
	b.Run("chunks", func(b *testing.B) { benchGroup(b, &buddy.Config{}) })
	b.Run("chunks-moved", func(b *testing.B) { benchGroup(b, &buddy.Config{Threshold: 0.01}) })
	b.Run("flows", func(b *testing.B) { benchGroup(b, &buddy.Config{Mode: buddy.Flows}) })
	b.Run("flows-moved", func(b *testing.B) { benchGroup(b, &buddy.Config{Mode: buddy.Flows, Threshold: 0.01}) })
}

func benchGroup(b *testing.B, cfg *buddy.Config) {
	const ringSize = 2048
	var pools []*driver.RxPool
	var rings []*drivertest.Ring
	for range 2 {
		r, err := drivertest.NewRing(drivertest.Options{Size: ringSize, Chunks: 32, ChunkSize: 256})
		require.NoError(b, err)
		defer func() { require.NoError(b, r.Close()) }()
		r.Flows = 1000
		rings, pools = append(rings, r), append(pools, r.Pool())
	}
	var g *buddy.Group
	if cfg != nil {
		var err error
		g, err = buddy.New(*cfg, pools...)
		require.NoError(b, err)
	}
	frames := make([]ring.Frame, 256)
	var spent time.Duration
	for left := b.N; left > 0; {
		want := min(left, ringSize/2)
		require.Equal(b, want, rings[0].Fill(want, 60))
		start := time.Now()
		if g == nil {
			for c, n := pools[0].Capture(frames, true); n > 0; c, n = pools[0].Capture(frames, true) {
				require.NoError(b, pools[0].Recycle(c))
			}
		} else {
			throughGroup(g)
		}
		spent += time.Since(start)
		left -= want
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}

// throughGroup captures what is in queue 0 and recycles it.
func throughGroup(g *buddy.Group) {
	for g.Queue(0).Capture(true) > 0 {
	}
	for again := true; again; {
		again = false
		for i := range g.Queues() {
			for c, ok := g.Queue(i).Next(); ok; c, ok = g.Queue(i).Next() {
				if err := g.Recycle(c); err != nil {
					panic(err)
				}
				again = true
			}
		}
	}
}
