package forward_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/transmit/forward"
)

// BenchmarkForward measures forwarding a frame of 60 bytes in one direction on one core: to
// receive, to transmit, and to recycle what was sent. poll is receiving alone, from a pool
// too; ns/op is per frame, the devices' part left out.
func BenchmarkForward(b *testing.B) {
	b.Run("size=60/poll", func(b *testing.B) { benchForward(b, nil) })
	b.Run("size=60/unchanged", func(b *testing.B) { benchForward(b, &forward.Edit{}) })
	b.Run("size=60/addresses", func(b *testing.B) { benchForward(b, &forward.Edit{Src: new([6]byte), Dst: new([6]byte)}) })
	b.Run("size=60/push-vlan", func(b *testing.B) { benchForward(b, &forward.Edit{PushVLAN: 7}) })
	filter, err := pcapfilter.Compile("not port 9999")
	require.NoError(b, err)
	b.Run("size=60/filter", func(b *testing.B) { benchForward(b, &forward.Edit{Filter: filter}) })
}

func benchForward(b *testing.B, e *forward.Edit) {
	const ringSize, txBuffers = 4096, 4088
	r, err := drivertest.NewRing(drivertest.Options{Size: ringSize, Chunks: 48, ChunkSize: 256})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	mem, tail := make([]byte, ringSize*ring.DescriptorSize), &drivertest.Register{}
	tx, err := driver.NewTxQueue(driver.TxMemory{Descriptors: mem, BufferSize: 2048, Attached: txBuffers, Tail: tail, MaxFrame: 1514})
	require.NoError(b, err)
	descs := ring.TxDescriptors(mem)
	var p forward.Path
	if e != nil {
		p = forward.NewPath(r.Pool(), tx, 0, *e)
	}
	frames := make([]ring.Frame, 64)
	var spent time.Duration
	sent := tail.Value()
	for left := b.N; left > 0; {
		want := min(left, ringSize/2)
		require.Equal(b, want, r.Fill(want, 60))
		start := time.Now()
		for got := 0; got < want; {
			if e != nil {
				got += p.Step()
				continue
			}
			c, n := r.Pool().Capture(frames, true)
			if got += n; n > 0 {
				require.NoError(b, r.Pool().Recycle(c))
			}
		}
		spent += time.Since(start)
		left -= want
		for ; sent != tail.Value(); sent = ring.Next(sent, ringSize) {
			descs[sent].WriteBack()
		}
	}
	if e != nil {
		require.EqualValues(b, b.N, p.Counts().Forwarded)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}
