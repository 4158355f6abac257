package forward_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/transmit/forward"
)

// pathRig is a path whose devices are the test.
type pathRig struct {
	*testing.T
	forward.Path
	rx    *drivertest.Ring
	descs []ring.TxDescriptor
	tail  drivertest.Register
	sent  uint32
}

const pathBase = 0x7000_0000

func newPathRig(t *testing.T, chunks int) *pathRig {
	r := &pathRig{T: t}
	var err error
	r.rx, err = drivertest.NewRing(drivertest.Options{Size: 64, Chunks: chunks, ChunkSize: 16})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.rx.Close()) })
	mem := make([]byte, 256*ring.DescriptorSize)
	r.descs = ring.TxDescriptors(mem)
	tx, err := driver.NewTxQueue(driver.TxMemory{Descriptors: mem, BufferSize: 2048, Attached: 248, Tail: &r.tail, MaxFrame: 9000})
	require.NoError(t, err)
	r.Path = forward.NewPath(r.rx.Pool(), tx, pathBase, forward.Edit{})
	return r
}

// send sends up to n descriptors and returns the device addresses in them.
func (r *pathRig) send(n int) (addrs []uint64) {
	for ; n > 0 && r.sent != r.tail.Value(); n-- {
		addr, _, _, _ := r.descs[r.sent].Data()
		addrs = append(addrs, addr)
		r.descs[r.sent].WriteBack()
		r.sent = ring.Next(r.sent, uint32(len(r.descs)))
	}
	return addrs
}

// A device that sends nothing holds at most half of the chunks: the others go on to receive, and
// what they receive is dropped and counted. Once it sends, all chunks return.
func TestChunksOfADeviceThatSendsNothing(t *testing.T) {
	const chunks = 12
	r := newPathRig(t, chunks)
	received := uint64(0)
	for range 100 {
		received += uint64(r.rx.Fill(8, 60))
		r.Step()
	}
	require.EqualValues(t, 800, received, "the receive ring never ran dry")
	c := r.Counts()
	require.EqualValues(t, 800, c.Frames)
	require.EqualValues(t, chunks/2*16-8, c.Forwarded, "all but what is left of the last chunk of the half")
	require.Equal(t, c.Frames, c.Forwarded+c.Full)
	require.Equal(t, r.Held(), r.rx.Pool().Out())
	addrs := r.send(1000)
	require.Len(t, addrs, int(c.Forwarded))
	for _, a := range addrs {
		at := int(a) - pathBase - driver.Headroom
		require.Zero(t, at%r.rx.Pool().Stride(), "behind the headroom of a buffer")
	}
	r.Recycle()
	require.Zero(t, r.rx.Pool().Out())
	require.Zero(t, r.Held())
	require.Equal(t, 8, r.rx.Fill(8, 60))
	require.Equal(t, 8, r.Step())
	require.Len(t, r.send(1000), 8)
}

// A chunk is recycled when the last of its frames was read, not before.
func TestChunkIsHeldUntilItsLastFrameIsRead(t *testing.T) {
	r := newPathRig(t, 8)
	require.Equal(t, 16, r.rx.Fill(16, 60))
	require.Equal(t, 16, r.Step())
	require.Equal(t, 1, r.rx.Pool().Out())
	r.send(15)
	r.Recycle()
	require.Equal(t, 1, r.rx.Pool().Out())
	r.send(1)
	r.Recycle()
	require.Zero(t, r.rx.Pool().Out())
}

// Frames of several buffers, over the end of a chunk too, are sent from each of them in order.
func TestFrameOverTheEndOfAChunk(t *testing.T) {
	r := newPathRig(t, 8)
	const size, buffers = 7000, 4 // of 2048 bytes
	want := map[uint64]bool{}
	for range 10 { // 3 x 16 descriptors, and some frames over the ends
		require.Equal(t, 1, r.rx.Fill(1, size))
		require.Equal(t, 1, r.Step())
		addrs := r.send(100)
		require.Len(t, addrs, buffers)
		for i, a := range addrs {
			at := int(a) - pathBase - driver.Headroom
			require.Zero(t, at%r.rx.Pool().Stride())
			if buffer := at / r.rx.Pool().Stride(); i > 0 && buffer%16 != 0 {
				require.EqualValues(t, addrs[i-1]+uint64(r.rx.Pool().Stride()), a)
			}
			want[a] = true
		}
		r.Recycle()
	}
	require.Greater(t, len(want), 32)
	require.Zero(t, r.rx.Pool().Out())
}

// Forwarding neither allocates nor loses count.
func TestForwardingDoesNotAllocate(t *testing.T) {
	r := newPathRig(t, 12)
	n := testing.AllocsPerRun(1000, func() {
		r.rx.Fill(8, 60)
		r.Step()
		for r.sent != r.tail.Value() {
			r.descs[r.sent].WriteBack()
			r.sent = ring.Next(r.sent, uint32(len(r.descs)))
		}
	})
	require.Zero(t, n)
	require.EqualValues(t, 8008, r.Counts().Forwarded)
}
