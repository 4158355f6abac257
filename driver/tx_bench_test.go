package driver_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// BenchmarkSend measures sending a frame, reclaiming included: from buffers that are
// prepared, and copied from a file in memory. ns/op is per frame; the device's part is
// not in it.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprintf("size=%d/prepared", size), func(b *testing.B) { benchSend(b, size, false, false) })
		b.Run(fmt.Sprintf("size=%d/prepared/head", size), func(b *testing.B) { benchSend(b, size, false, true) })
		b.Run(fmt.Sprintf("size=%d/file", size), func(b *testing.B) { benchSend(b, size, true, false) })
	}
}

func benchSend(b *testing.B, size int, file, headWriteBack bool) {
	const ringSize, batch, fileSize = 4096, 64, 64 << 20
	mem, tail, head := make([]byte, ringSize*16), &drivertest.Register{}, make([]byte, 8)
	m := driver.TxMemory{Descriptors: mem, Buffers: make([]byte, ringSize*2112), BufferSize: 2048, Stride: 2112, Tail: tail, MaxFrame: 1514}
	if headWriteBack {
		m.Head = head
	}
	q, err := driver.NewTxQueue(m)
	require.NoError(b, err)
	for i := range q.Free() {
		q.Buffer(i).Data = q.Buffer(i).Data[:size]
	}
	arena := make([]byte, fileSize)
	for i := range arena {
		arena[i] = byte(i)
	}
	descs, at := ring.TxDescriptors(mem), 0
	frames := make([][]byte, batch)
	var spent time.Duration
	for left := b.N; left > 0; {
		want := min(left, ringSize-1)
		before := tail.Value()
		start := time.Now()
		for sent := 0; sent < want; {
			n := min(batch, want-sent)
			if !file {
				sent += q.Post(min(n, q.Free()))
				continue
			}
			for i := range frames[:n] {
				frames[i] = arena[at : at+size]
				if at += size; at+size > len(arena) {
					at = 0
				}
			}
			sent += q.Send(frames[:n])
		}
		spent += time.Since(start)
		left -= want
		for i := before; i != tail.Value(); i = ring.Next(i, ringSize) {
			descs[i].WriteBack()
		}
		*ring.Word(head) = tail.Value()
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}
