package driver_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

// fifoUser polls the descriptors of a pool itself, as a producer of a stream does, and holds
// frames for a while.
type fifoUser struct {
	t      *testing.T
	r      *rand.Rand
	ring   *drivertest.Ring
	q      *driver.RxFIFO
	frames []ring.Frame
	parts  [][]heldFrame // not recycled, oldest first
	seen   uint32
}

type heldFrame struct {
	tail   []byte // its last 4 bytes
	number uint32
}

func (u *fifoUser) see(tail []byte, added bool) {
	require.Equal(u.t, u.seen, binary.BigEndian.Uint32(tail))
	if !added {
		u.parts = append(u.parts, nil)
	}
	last := &u.parts[len(u.parts)-1]
	*last = append(*last, heldFrame{tail, u.seen})
	u.seen++
}

// run takes the frames of a Run up to one that is not of the fast path, or fewer.
func (u *fifoUser) run() {
	run := u.q.Run(1 + u.r.IntN(10))
	limit, n := u.r.IntN(12), 0
	var tails [][]byte
	for ; n < min(limit, len(run.Descriptors)); n++ {
		d := &run.Descriptors[n]
		if !ring.IsFast(d.Type(), d.Status()) || uint32(d.Status().Length())-1 >= run.Limit {
			break
		}
		end := d.Status().Length()
		tails = append(tails, u.ring.Buffer(int(run.Buffer) + n)[end-4:end])
		if run.Next != 0 {
			d.Refill(run.Next + uint64(n*u.q.Stride()))
		}
	}
	if n > 0 {
		added := u.q.Take(n)
		for i, tail := range tails {
			u.see(tail, added || i > 0)
		}
	}
}

// poll takes what has arrived in one chunk.
func (u *fifoUser) poll() {
	n := u.q.Poll(u.frames[:1+u.r.IntN(len(u.frames))])
	for i := range u.frames[:n] {
		last := u.frames[i].Data
		if k := len(u.frames[i].Rest); k > 0 {
			last = u.frames[i].Rest[k-1]
		}
		u.see(last[len(last)-4:], i > 0)
	}
}

// recycle recycles the oldest parts, whose frames are not overwritten.
func (u *fifoUser) recycle(n int) {
	for _, p := range u.parts[:n] {
		for _, f := range p {
			require.Equal(u.t, f.number, binary.BigEndian.Uint32(f.tail))
		}
	}
	u.q.Recycle(n)
	u.parts = u.parts[n:]
}

func TestFIFOHandsOnAllFramesInOrder(t *testing.T) {
	for _, c := range []struct{ ring, chunk, chunks int }{
		{16, 8, 2}, {16, 8, 3}, {64, 8, 6}, {64, 16, 4}, {64, 16, 9}, {72, 24, 7},
	} {
		r := rand.New(rand.NewPCG(1, uint64(c.chunks)))
		rg, p := newPool(t, drivertest.Options{Size: c.ring, Chunks: c.chunks, ChunkSize: c.chunk})
		u := &fifoUser{t: t, r: r, ring: rg, q: driver.NewRxFIFO(p), frames: make([]ring.Frame, 20)}
		sent := uint32(0)
		for range 20_000 {
			switch r.IntN(4) {
			case 0:
				size := 60
				if r.IntN(5) == 0 {
					size = 3000 // two descriptors
				}
				sent += uint32(rg.Fill(1+r.IntN(c.ring), size))
			case 1:
				u.poll()
			default:
				u.run()
			}
			if r.IntN(3) == 0 && len(u.parts) > 0 {
				u.recycle(1 + r.IntN(len(u.parts)))
			}
			require.Equal(t, len(u.parts), p.Out())
		}
		for before := ^u.seen; before != u.seen; {
			before = u.seen
			u.recycle(len(u.parts))
			u.poll()
		}
		require.Equal(t, sent, u.seen, "all frames sent are captured")
		require.Greater(t, sent, uint32(10_000))
		u.recycle(len(u.parts))
		u.q.Run(1)
		require.Equal(t, min(c.ring-1, c.chunk*c.chunks), rg.Owned()+u.behind(c.chunk), "no buffer is lost")
	}
}

// behind is how many descriptors of the current chunk were taken: they are attached again
// once all of them are.
func (u *fifoUser) behind(chunk int) int { return int(u.q.Run(1).Buffer) % chunk }

// A pool little larger than the ring recycles no more than it must: the other frames stay
// readable.
func TestFIFORecyclesAheadInLargePoolsOnly(t *testing.T) {
	for _, c := range []struct{ chunks, want int }{{6, 8}, {8, 16}, {12, 24}} {
		r, p := newPool(t, drivertest.Options{Size: 32, Chunks: c.chunks, ChunkSize: 8})
		q := driver.NewRxFIFO(p)
		for q.Needs() == 0 {
			r.Fill(8, 60)
			run := q.Run(8)
			for i := range run.Descriptors {
				if run.Next != 0 {
					run.Descriptors[i].Refill(run.Next + uint64(i*q.Stride()))
				}
			}
			q.Take(len(run.Descriptors))
		}
		require.Equal(t, 1, q.Empty())
		require.Equal(t, c.want, q.Needs(), "pool of %d chunks", c.chunks)
		q.Recycle(1)
		require.Equal(t, 2, q.Empty())
	}
}

func TestRunRefillsWithEmptyChunks(t *testing.T) {
	r, p := newPool(t, drivertest.Options{Size: 32, Chunks: 6, ChunkSize: 8})
	q := driver.NewRxFIFO(p)
	require.Equal(t, 31, r.Fill(31, 60))
	run := q.Run(100)
	require.Len(t, run.Descriptors, 8, "of one chunk")
	require.NotZero(t, run.Next, "a chunk is empty")
	first := run.Next
	q.Take(3)
	run = q.Run(100)
	require.Equal(t, first+3*uint64(q.Stride()), run.Next)
	require.EqualValues(t, 3, run.Buffer)
	frames := make([]ring.Frame, 2)
	require.Equal(t, 2, q.Poll(frames), "these are not refilled by the caller")
	require.Zero(t, q.Run(100).Next)
}
